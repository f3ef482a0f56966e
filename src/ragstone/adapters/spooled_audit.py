"""An audit log that keeps what another one can't take in a local, bounded, fsynced spool, and hands it on later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from ragstone.adapters import codecs
from ragstone.adapters.spool_file import SpoolFile
from ragstone.domain.audit import AuditEntry, AuditFilter
from ragstone.domain.errors import StorageFull, Unavailable
from ragstone.ports.audit_log import AuditLog

T = TypeVar("T")
_PATIENCE = 2.0  # seconds that the log gets for one entry
_PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between tries to hand entries on, then again and again the last
_BATCH = 100  # entries
_log = logging.getLogger(__name__)


class SpooledAuditLog:
    """Implements `AuditLog` over another one. The process must be the only one that uses `directory`. `limit` in bytes.

    While entries wait in the spool, later ones go there too, so that their order stays. A process that is killed leaves its entries to the next;
    one that died between handing on and forgetting hands them on again, which the log takes for one. `page` shows what was handed on.
    """

    def __init__(
        self,
        log: AuditLog,
        directory: Path,
        limit: int,
        *,
        patience: float = _PATIENCE,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._inner = log
        self._limit = limit
        self._patience = patience
        self._pause = pause
        self._spool = SpoolFile(directory / "audit.jsonl")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit-spool")  # calls of the file never overlap
        self._handing_on: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to hand on what waits."""
        if self._spool.lines and self._handing_on is None:
            self._handing_on = asyncio.create_task(self._hand_on(), name="audit spool")

    async def append(self, entry: AuditEntry) -> None:
        if self._handing_on is None:
            try:
                async with asyncio.timeout(self._patience):
                    return await self._inner.append(entry)
            except (TimeoutError, Unavailable) as error:
                _log.warning("the audit log takes nothing (%s); entries are spooled", str(error) or "no answer in time")
        await self._run(lambda: self._defer(codecs.AUDIT.dump(entry).encode()))
        self.start()
        return None

    async def page(self, filter: AuditFilter, *, before: str | None = None, limit: int = 50) -> list[AuditEntry]:
        return await self._inner.page(filter, before=before, limit=limit)

    async def close(self) -> None:
        if self._handing_on is not None:
            self._handing_on.cancel()
            await asyncio.gather(self._handing_on, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)
        self._spool.close()
        await self._inner.close()

    def _defer(self, line: bytes) -> None:
        if self._spool.size + len(line) + 1 > self._limit:
            raise Unavailable("The audit log does not answer and its spool is full; make the log answer.", retry_after=30.0)
        self._spool.append([line])

    async def _hand_on(self) -> None:
        """Hands entries on in their order until none is left."""
        offset, tries = 0, 0
        while True:
            try:
                after = await self._hand_on_batch(offset)
            except Exception as error:  # whatever it was, it may be over soon; else entries would wait for a restart
                _log.warning("spooled audit entries wait for the log: %s", str(error) or "no answer in time")
                await self._pause(_PAUSES[min(tries, len(_PAUSES) - 1)])
                tries += 1
                continue
            if after == offset and await self._run(partial(self._clear, offset)):
                break
            offset, tries = after, 0
        self._handing_on = None
        self.start()  # an entry may have come this very moment

    async def _hand_on_batch(self, offset: int) -> int:
        """Where the entries end that the log has now."""
        lines, end = await self._run(lambda: self._spool.read(offset, _BATCH))
        for entry in filter(None, map(_entry, lines)):
            async with asyncio.timeout(self._patience):
                await self._inner.append(entry)
        return end

    def _clear(self, end: int) -> bool:
        """Empties the spool unless something came meanwhile."""
        if self._spool.size != end:
            return False
        self._spool.clear()
        return True

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as error:
            raise StorageFull(
                f"the spool of the audit log can't be written ({error.strerror or 'input/output error'}); free some space."
            ) from error


def _entry(line: bytes) -> AuditEntry | None:
    try:
        return codecs.AUDIT.load(line.decode())
    except ValueError:  # pydantic's and the decoder's; damaged on the disk
        _log.error("a spooled audit entry can't be read and is left out")
        return None
