"""`DocumentParser` that reads documents in subprocesses with limits on memory, CPU and time."""

from __future__ import annotations

import asyncio
import functools
import queue
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from ragstone.adapters.parsing.extraction import MAX_BLOCKS
from ragstone.adapters.parsing.media_types import ParserName, guess_media_type, parser_for, parser_version, versions
from ragstone.adapters.parsing.process import WorkerDied, WorkerProcess
from ragstone.domain.documents import Block, ExtractedText
from ragstone.domain.errors import RagstoneError, Unavailable, UnreadableDocument

_START_SECONDS = 60.0  # for importing a parser: disk and a cold cache, nothing of the document
_BYTES_PER_BLOCK = 64  # of JSON
_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """For one document: `seconds` of wall-clock time, `cpu_seconds` of processor time, `memory` in bytes (of the whole worker process; not
    enforced on macOS), `characters` of extracted text."""

    seconds: float = 120.0
    cpu_seconds: float = 90.0
    memory: int = 1024 * _MEGABYTE
    characters: int = 20_000_000

    @classmethod
    def within(cls, memory: int) -> ParserLimits:
        """The usual ones where all of ragstone may use `memory` bytes: a document gets half of it at most, or it could get the server killed."""
        return cls(memory=min(cls().memory, memory // 2))


class SubprocessParser:
    """`workers` processes at most, started when needed and kept. Cancelling `parse` kills the process that works on it."""

    def __init__(self, limits: ParserLimits | None = None, workers: int = 1) -> None:
        self._limits = limits or ParserLimits()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="parser")
        self._idle: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        for _ in range(workers):
            self._idle.put(_Slot())
        self._running: set[_Watch] = set()
        self._closed = False

    @property
    def versions(self) -> tuple[str, ...]:
        return versions()

    def media_type(self, path: str, content: bytes) -> str:
        return guess_media_type(path, content)

    async def parse(self, path: str, media_type: str, content: bytes) -> ExtractedText:
        parser = parser_for(path, media_type)
        if not content or content.isspace():
            raise UnreadableDocument(f"{path} is empty.", field=path)
        if self._closed:
            raise Unavailable("The document parser is closed; start ragstone again.")
        watch = _Watch()
        self._running.add(watch)
        try:
            work = functools.partial(self._parse, path, parser, media_type, content, watch)
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._running.discard(watch)
            watch.stop()  # kills only what still works: then this task was cancelled

    async def close(self) -> None:
        """Ends the processes. Calls of `parse` that still run raise `Unavailable`."""
        self._closed = True
        for watch in tuple(self._running):
            watch.stop()
        await asyncio.get_running_loop().run_in_executor(None, self._end)

    def _end(self) -> None:
        self._threads.shutdown(wait=True)
        while not self._idle.empty():
            self._idle.get().drop()

    def _parse(self, path: str, parser: ParserName, media_type: str, content: bytes, watch: _Watch) -> ExtractedText:
        slot = self._idle.get()  # never waits: there are as many slots as threads
        try:
            worker = self._ready_worker(slot, parser, watch)
            header = {
                "parser": parser,
                "version": parser_version(parser),
                "media_type": media_type,
                "max_characters": self._limits.characters,
            }
            with watch.over(worker, self._limits.seconds):
                answer, body = worker.exchange(header, content, self._answer_limit())
            if answer["last"]:
                slot.drop()
            return self._extracted(path, parser, answer, body)
        except WorkerDied as died:
            slot.drop()
            raise self._explained(path, died, watch) from None
        finally:
            self._idle.put(slot)

    def _ready_worker(self, slot: _Slot, parser: ParserName, watch: _Watch) -> WorkerProcess:
        """A worker that has imported the parser. Raises `Unavailable` when it can't: that is no document's fault."""
        if slot.worker is not None and not slot.worker.alive:
            slot.drop()  # it was killed from outside meanwhile
        try:
            worker = slot.worker = slot.worker or WorkerProcess(self._limits.memory, self._limits.cpu_seconds)
            if parser not in worker.ready:
                with watch.over(worker, _START_SECONDS):
                    worker.exchange({"parser": parser}, b"", _MEGABYTE)
                worker.ready.add(parser)
        except (OSError, WorkerDied) as error:
            slot.drop()
            if watch.reason == "stopped":
                raise Unavailable("The document parser was stopped.") from None
            raise Unavailable(f"The {parser} parser does not start ({error}); check the installation and the free memory.") from None
        return worker

    def _answer_limit(self) -> int:
        return 4 * self._limits.characters + _BYTES_PER_BLOCK * MAX_BLOCKS + _MEGABYTE

    def _extracted(self, path: str, parser: ParserName, answer: dict[str, Any], body: bytes) -> ExtractedText:
        match answer["status"]:
            case "ok":
                blocks = tuple(Block(*block) for block in answer["blocks"])
                return ExtractedText(body.decode(), blocks, parser_version(parser), answer["title"])
            case "memory":
                raise UnreadableDocument(self._too_much_memory(path), field=path)
            case _:
                raise UnreadableDocument(f"{path} {answer['message']}", field=path)

    def _explained(self, path: str, died: WorkerDied, watch: _Watch) -> RagstoneError:
        if watch.reason == "stopped":
            return Unavailable("The document parser was stopped.")
        if watch.reason == "time":
            return UnreadableDocument(f"{path} took longer than {self._limits.seconds:g} s to read; split or simplify it.", field=path)
        if died.signal == signal.SIGXCPU:
            message = f"{path} took more than {self._limits.cpu_seconds:g} s of processor time to read; split or simplify it."
            return UnreadableDocument(message, field=path)
        if died.signal == signal.SIGKILL:
            return UnreadableDocument(self._too_much_memory(path), field=path)
        return UnreadableDocument(f"{path} can't be read: it makes the parser crash.", field=path)

    def _too_much_memory(self, path: str) -> str:
        return f"{path} needed more than {self._limits.memory // _MEGABYTE} MB of memory to read; split or simplify it."


class _Slot:
    """A place for a worker."""

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None

    def drop(self) -> None:
        """Ends the worker, if there is one."""
        if self.worker is not None:
            self.worker.end()
            self.worker = None


class _Watch:
    """Kills the worker of one call when its time is over or nobody waits for it any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: WorkerProcess | None = None
        self.reason: Literal["", "time", "stopped"] = ""

    @contextmanager
    def over(self, worker: WorkerProcess, seconds: float) -> Iterator[None]:
        """Watches for as long as the block runs. Raises `WorkerDied` when the worker was killed, even if its answer had come by then."""
        timer = threading.Timer(seconds, self._kill, ("time",))
        with self._lock:
            if self.reason:
                raise WorkerDied(0)
            self._worker = worker
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                self._worker = None
        if self.reason:
            raise WorkerDied(0)

    def stop(self) -> None:
        """Kills what still works."""
        self._kill("stopped")

    def _kill(self, reason: Literal["time", "stopped"]) -> None:
        with self._lock:
            if reason == "stopped" or self._worker is not None:
                self.reason = self.reason or reason
            if self._worker is not None:
                self._worker.kill()
