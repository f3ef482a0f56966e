"""How far the jobs that run in this process are, for whoever watches."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, cast
from weakref import WeakValueDictionary

from ragstone.domain.bulk import ShardProgress
from ragstone.domain.jobs import Phase, Progress
from ragstone.domain.uploads import JobProgress

LONGEST_LOOK = 1.0  # seconds between looks at a job
_SILENCE = 5.0  # seconds after which a watcher is told the same again
_KEPT = 1000  # finished jobs whose last progress is still told


class ProgressBoard:
    """Progress by job id. Writers change it on the event loop; watchers wait for changes."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}
        self._began: dict[str, float] = {}
        self.closed = False
        self._changes: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()  # alive while someone waits

    def get(self, job_id: str) -> Progress:
        """The latest; phase `queued` for a job that nobody reported on."""
        return self._progress.get(job_id, Progress())

    def phase(self, job_id: str, phase: Phase, **counts: int) -> None:
        """Sets the phase and any counts (fields of `Progress`); entering `embedding` starts the clock of `rate`."""
        if phase == "embedding":
            self._began[job_id] = time.monotonic()
        self._set(job_id, replace(self.get(job_id), phase=phase, **cast("dict[str, Any]", counts)))

    def advance(self, job_id: str, *, documents: int = 0, embedded: int = 0, reused: int = 0) -> None:
        """Adds to the counts and works out rate and time left."""
        now = self.get(job_id)
        done = now.chunks + embedded + reused
        seconds = time.monotonic() - self._began.get(job_id, time.monotonic())
        rate = done / seconds if seconds > 0 else 0.0
        left = (now.chunks_total - done) / rate if rate > 0 and now.chunks_total else None
        self._set(
            job_id,
            replace(
                now,
                documents=now.documents + documents,
                chunks=done,
                embedded=now.embedded + embedded,
                reused=now.reused + reused,
                rate=rate,
                seconds_left=left,
            ),
        )

    def shards(self, job_id: str, shards: tuple[ShardProgress, ...]) -> None:
        """How far the shards of bulk work are: their rates added up, and the time that the slowest takes."""
        left = [shard.seconds_left for shard in shards]
        slowest = max((seconds for seconds in left if seconds is not None), default=None) if None not in left else None
        rate = sum(shard.rate for shard in shards)
        self._set(job_id, replace(self.get(job_id), phase="embedding", shards=shards, rate=rate, seconds_left=slowest))

    def done(self, job_id: str) -> None:
        """The job is terminal."""
        self._began.pop(job_id, None)
        self._set(job_id, replace(self.get(job_id), phase="done", seconds_left=0.0))

    def next_change(self, job_id: str) -> asyncio.Event:
        """Set at the job's next change. Take it before looking at the job, or a change in between is missed."""
        event = self._changes.get(job_id)
        if event is None:
            event = self._changes[job_id] = asyncio.Event()
            if self.closed:
                event.set()
        return event

    def close(self) -> None:
        """No job will change any more: whoever waits for one goes on."""
        self.closed = True
        for event in list(self._changes.values()):
            event.set()

    def _set(self, job_id: str, progress: Progress) -> None:
        self._progress.pop(job_id, None)  # so that the oldest come first
        self._progress[job_id] = progress
        while len(self._progress) > _KEPT:
            del self._progress[next(iter(self._progress))]
        if event := self._changes.pop(job_id, None):
            event.set()


async def happens(event: asyncio.Event, within: float) -> None:
    """Returns when `event` is set, or after `within` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()


async def watched(board: ProgressBoard, job_id: str, look: Callable[[], Awaitable[tuple[bool, Progress]]]) -> AsyncIterator[JobProgress]:
    """Progress whenever it changes (at least every 5 s) until the job is terminal, or this process works off no more jobs. `look`: whether it is, and how far it is."""
    told: Progress | None = None
    last = 0.0
    while True:
        change = board.next_change(job_id)
        finished, progress = await look()
        if finished or progress != told or time.monotonic() - last >= _SILENCE:
            told, last = progress, time.monotonic()
            yield JobProgress(job_id, progress, finished)
        if finished or board.closed:
            return
        await happens(change, LONGEST_LOOK)
