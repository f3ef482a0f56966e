"""An interaction log that keeps what another one can't take in a local, bounded, fsynced spool, and hands it on later."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ragstone.adapters import codecs
from ragstone.adapters.spool_file import SpoolFile
from ragstone.domain.deadline import deadline
from ragstone.domain.errors import InvalidInput, NotFound, RagstoneError, StorageFull, Unavailable
from ragstone.domain.interactions import CitedChunk, Feedback, Interaction, InteractionFilter, Logged, used_paths, without_document
from ragstone.domain.retention import Purge
from ragstone.ports.interaction_log import InteractionLog

T = TypeVar("T")
Purges = Callable[[str], Awaitable[Sequence[Purge]]]  # of a collection
_PATIENCE = 2.0  # seconds that the log gets for one append
_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between tries to hand entries on, then again and again the last
_BATCH = 100  # entries
_log = logging.getLogger(__name__)


class SpooledInteractionLog:
    """Implements `InteractionLog` over another one. The process must be the only one that uses `directory`. `limit` in bytes.

    `purges`: what is asked, once entries were handed on, for documents that were purged while they waited. Once an entry had to be spooled, later ones are spooled at once, until the log takes entries again. A process that is killed leaves its
    entries to the next; one that died between handing on and forgetting hands them on again, which the log takes for one.
    """

    def __init__(
        self,
        log: InteractionLog,
        directory: Path,
        limit: int,
        *,
        patience: float = _PATIENCE,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        purges: Purges | None = None,
    ) -> None:
        self._inner = log
        self._limit = limit
        self._patience = patience
        self._pause = pause
        self._purges = purges
        self._spool = SpoolFile(directory / "interactions.jsonl")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")  # calls of the file never overlap
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._handing_on: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()  # of those who take from the spool
        self._batch = _BATCH
        self._handed = (0, 0)  # bytes and lines from its start that the log has
        self._down = False
        self._under_way: set[object] = set()
        self._ended = asyncio.Event()

    def start(self) -> None:
        """Begins to hand on what an earlier process left."""
        if self._spool.lines and self._handing_on is None:
            with deadline(None):  # of the question whose answer was spooled
                self._handing_on = asyncio.create_task(self._hand_on(), name="spool")

    async def append(self, interaction: Interaction) -> Logged:
        ticket = object()
        self._under_way.add(ticket)
        try:
            if self._handing_on is None or not self._down:
                try:
                    async with asyncio.timeout(self._patience):
                        return await self._inner.append(interaction)
                except (TimeoutError, Unavailable) as error:
                    self._down = True
                    _log.warning("the interaction log takes nothing (%s); entries are spooled", str(error) or "no answer in time")
            await self._defer(interaction)
            return "deferred"
        finally:
            self._under_way.discard(ticket)
            self._ended.set()

    async def get(self, interaction_id: str) -> Interaction:
        return await self._inner.get(interaction_id)

    async def add_feedback(self, interaction_id: str, feedback: Feedback) -> Interaction:
        return await self._inner.add_feedback(interaction_id, feedback)

    async def page(self, filter: InteractionFilter, *, before: str | None = None, limit: int = 50) -> list[Interaction]:
        return await self._inner.page(filter, before=before, limit=limit)

    async def cited(self, collection: str, paths: Collection[str]) -> list[CitedChunk]:
        return await self._inner.cited(collection, paths)

    async def delete_before(self, time: float) -> int:
        return await self._inner.delete_before(time)

    async def erase(self, collection: str, path: str) -> int:
        earlier = set(self._under_way)
        while earlier & self._under_way:  # one that is on its way into the spool would be missed
            self._ended.clear()
            await self._ended.wait()
        async with self._turn:
            changed = await self._inner.erase(collection, path)
            return changed + await self._run(lambda: self._blank(collection, path))

    async def deferred(self) -> int:
        return self._spool.lines - self._handed[1]

    async def close(self) -> None:
        if self._handing_on is not None:
            self._handing_on.cancel()
            await asyncio.gather(self._handing_on, return_exceptions=True)
        if self._writing is not None:
            await self._writing
        await asyncio.to_thread(self._thread.shutdown)
        self._spool.close()
        await self._inner.close()

    async def _defer(self, interaction: Interaction) -> None:
        line = codecs.INTERACTION.dump(replace(interaction, feedback=())).encode()
        if self._spool.size + sum(len(other) + 1 for other, _ in self._waiting) + len(line) + 1 > self._limit:
            raise Unavailable(
                "The interaction log does not answer and the spool is full; make the log answer, then ask again.", retry_after=30.0
            )
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((line, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_waiting())
        await written
        self.start()

    async def _write_waiting(self) -> None:
        """What waits at the same time shares one fsync."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            lines = [line for line, _ in batch]
            error: RagstoneError | None = None
            try:
                await self._run(partial(self._spool.append, lines))
            except RagstoneError as raised:
                error = raised
            for _, written in batch:
                if written.done():  # its caller was cancelled
                    continue
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)
        self._writing = None

    async def _hand_on(self) -> None:
        tries = 0
        while self._spool.lines:
            try:
                async with self._turn:
                    handed = await self._hand_on_batch()
            except Exception as error:  # whatever it was, it may be over soon; else entries would wait for a restart
                self._batch = max(1, self._batch // 4)  # a log that is slow gets as many as it can take in its time
                _log.warning("%d spooled interactions wait for the log: %s", await self.deferred(), str(error) or "no answer in time")
                await self._pause(_PAUSES[min(tries, len(_PAUSES) - 1)])
                tries += 1
                continue
            if handed:
                tries, self._down = 0, False
                self._batch = min(_BATCH, 2 * self._batch)
        self._handing_on = None

    async def _hand_on_batch(self) -> bool:
        """Hands on the next entries; empties the spool when there are none left. Whether there were any."""
        begin, before = self._handed
        lines, end = await self._run(lambda: self._spool.read(begin, self._batch))
        if not lines:
            await self._run(lambda: self._clear(end))
            return False
        entries = [one for one in map(_entry, lines) if one]
        async with asyncio.timeout(self._patience + len(lines) / _BATCH):
            results = await asyncio.gather(*map(self._inner.append, entries), return_exceptions=True)
        for result in results:
            if isinstance(result, InvalidInput):
                _log.error("a spooled interaction is refused by the log and left out: %s", result)
            elif isinstance(result, BaseException):
                raise result
        await self._erase_purged(entries)
        self._handed = end, before + len(lines)
        return True

    async def _erase_purged(self, entries: list[Interaction]) -> None:
        """Once they are in the log: another process may have purged a document while its texts waited here, where it could not look."""
        if self._purges is None:
            return
        for collection in {entry.collection for entry in entries}:
            try:
                purges = await self._purges(collection)
            except NotFound:  # it was deleted
                continue
            for purge in purges:
                if any(entry.collection == collection and entry.seq <= purge.seq and purge.path in used_paths(entry) for entry in entries):
                    await self._inner.erase(collection, purge.path)

    def _clear(self, end: int) -> None:
        if self._spool.size == end:  # nothing came meanwhile
            self._spool.clear()
            self._handed = 0, 0

    def _blank(self, collection: str, path: str) -> int:
        """Takes a document's texts out of what waits; what was handed on already is forgotten."""
        lines, _ = self._spool.read(self._handed[0], self._spool.lines + 1)
        entries = [entry for entry in map(_entry, lines) if entry]
        blank = [without_document(entry, path) if entry.collection == collection else entry for entry in entries]
        changed = sum(after != before for before, after in zip(entries, blank, strict=True))
        if changed:
            self._spool.replace([codecs.INTERACTION.dump(entry).encode() for entry in blank])
            self._handed = 0, 0
        return changed

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("no space is left for the spool of interactions; free some and try again.") from error
            raise Unavailable(f"the spool of interactions cannot be read or written ({error.strerror or 'input/output error'}).") from error


def _entry(line: bytes) -> Interaction | None:
    try:
        return codecs.INTERACTION.load(line.decode())
    except ValueError:  # pydantic's and the decoder's; damaged on the disk
        _log.error("a spooled interaction cannot be read and is left out")
        return None
