"""What every job queue promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest

from ragstone.adapters.in_process_queue import InProcessJobQueue
from ragstone.adapters.nats_queue import NatsJobQueue
from ragstone.domain.deadline import deadline, remaining
from ragstone.domain.errors import InternalError, RagstoneError, Unavailable
from ragstone.ports.job_queue import JobQueue
from tests.fakes.job_queue import InMemoryJobQueue
from tests.servers import nats

T = TypeVar("T")
SOON = 5.0  # seconds that a test waits at most


TRIES = 5


@pytest.fixture(params=["in-process", "memory", pytest.param("nats", marks=pytest.mark.packaged)])
async def queue(request: pytest.FixtureRequest) -> AsyncIterator[JobQueue]:
    match request.param:
        case "nats":
            names = nats.names()
            connection = nats.connection(request.getfixturevalue("nats_url"), names)
            queue = NatsJobQueue(connection, names, tries=TRIES, first_pause=0.001, longest_pause=0.002)
            yield queue
            await queue.stop(grace=0.0)
            await connection.close()
        case "in-process":
            in_process = InProcessJobQueue(tries=TRIES, first_pause=0.001, longest_pause=0.002)
            yield in_process
            await in_process.stop(grace=0.0)
        case _:
            memory = InMemoryJobQueue(TRIES)
            yield memory
            await memory.stop(grace=0.0)


class Handler:
    """Records calls; a job is held until `gate` is set; `errors` are raised first, one a call."""

    def __init__(self, *, errors: dict[str, list[Exception]] | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        self.done: list[tuple[str, str]] = []
        self.given_up: list[tuple[str, int, str | None]] = []
        self.refused: list[str] = []
        self.running: dict[str, int] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self._errors = errors or {}
        self._changed = asyncio.Condition()

    async def __call__(self, collection: str, job_id: str) -> None:
        self.running[collection] = self.running.get(collection, 0) + 1
        assert self.running[collection] == 1, "two jobs of one collection at once"
        try:
            await self._note(self.calls, (collection, job_id))
            await self.gate.wait()
            if self._errors.get(job_id):
                raise self._errors[job_id].pop(0)
            await self._note(self.done, (collection, job_id))
        finally:
            self.running[collection] -= 1

    async def give_up(self, collection: str, job_id: str, tries: int, error: RagstoneError | None) -> bool:
        """Says no to jobs of `refused` once: an older job stood in their way."""
        await self._note(self.given_up, (job_id, tries, error.message if error else None))
        return not (self.refused and self.refused.pop() == job_id)

    async def called(self, count: int) -> list[tuple[str, str]]:
        return await self._until(self.calls, count)

    async def finished(self, count: int) -> list[tuple[str, str]]:
        return await self._until(self.done, count)

    async def _note(self, calls: list[T], call: T) -> None:
        async with self._changed:
            calls.append(call)
            self._changed.notify_all()

    async def _until(self, calls: list[T], count: int) -> list[T]:
        async with asyncio.timeout(SOON), self._changed:
            await self._changed.wait_for(lambda: len(calls) >= count)
        return calls


async def test_a_job_has_more_time_than_the_request_that_brought_it(queue: JobQueue) -> None:
    left: asyncio.Queue[float | None] = asyncio.Queue()

    async def handler(collection: str, job_id: str) -> None:
        left.put_nowait(remaining())

    await queue.start(handler, Handler().give_up)
    with deadline(1):
        await queue.enqueue("docs", "j1")
    async with asyncio.timeout(SOON):
        assert await left.get() is None


async def test_jobs_of_a_collection_run_in_order_of_enqueueing(queue: JobQueue) -> None:
    handler = Handler()
    await queue.enqueue("a", "early")
    await queue.start(handler, handler.give_up)
    for number in range(20):
        await queue.enqueue("a", f"{number}")
    assert await handler.finished(21) == [("a", "early"), *(("a", f"{number}") for number in range(20))]


async def test_collections_run_in_parallel(queue: JobQueue) -> None:
    handler = Handler()
    handler.gate.clear()
    await queue.start(handler, handler.give_up)
    for collection in ("a", "b", "c"):
        await queue.enqueue(collection, "1")
        await queue.enqueue(collection, "2")
    assert sorted(await handler.called(3)) == [("a", "1"), ("b", "1"), ("c", "1")]
    handler.gate.set()
    await handler.finished(6)


async def test_a_job_enqueued_again_while_it_runs_is_handled_again(queue: JobQueue) -> None:
    handler = Handler()
    handler.gate.clear()
    await queue.start(handler, handler.give_up)
    for _ in range(3):
        await queue.enqueue("a", "1")
    await handler.called(1)
    await queue.enqueue("a", "1")
    handler.gate.set()
    assert set(await handler.finished(2)) == {("a", "1")}


async def test_an_unavailable_dependency_is_tried_again_in_order(queue: JobQueue) -> None:
    handler = Handler(errors={"1": [Unavailable("later"), Unavailable("later"), Unavailable("later")]})
    await queue.start(handler, handler.give_up)
    await queue.enqueue("a", "1")
    await queue.enqueue("a", "2")
    assert await handler.finished(2) == [("a", "1"), ("a", "2")]
    assert handler.calls == [("a", "1")] * 4 + [("a", "2")]


async def test_any_other_error_is_logged_and_the_next_job_runs(queue: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler(errors={"1": [InternalError("broken promise")], "2": [ZeroDivisionError()]})
    await queue.start(handler, handler.give_up)
    for job_id in ("1", "2", "3"):
        await queue.enqueue("a", job_id)
    assert await handler.finished(1) == [("a", "3")]
    assert handler.calls == [("a", "1"), ("a", "2"), ("a", "3")]
    assert "broken promise" in caplog.text


async def test_stopping_waits_for_running_handlers(queue: JobQueue) -> None:
    handler = Handler()
    handler.gate.clear()
    await queue.start(handler, handler.give_up)
    await queue.enqueue("a", "1")
    await queue.enqueue("a", "2")
    await handler.called(1)
    stopping = asyncio.create_task(queue.stop(grace=SOON))
    await asyncio.sleep(0)
    handler.gate.set()
    await stopping
    assert handler.done == [("a", "1")]
    assert handler.calls == [("a", "1")]


async def test_stopping_cancels_what_does_not_end_in_time(queue: JobQueue) -> None:
    handler = Handler()
    handler.gate.clear()
    await queue.start(handler, handler.give_up)
    await queue.enqueue("a", "1")
    await handler.called(1)
    async with asyncio.timeout(SOON):
        await queue.stop(grace=0.01)
    assert handler.done == []
    assert handler.running == {"a": 0}


async def test_stopping_does_not_wait_for_a_pause(queue: JobQueue) -> None:
    handler = Handler(errors={"1": [Unavailable("later")] * 1000})
    await queue.start(handler, handler.give_up)
    await queue.enqueue("a", "1")
    await handler.called(3)
    async with asyncio.timeout(SOON):
        await queue.stop(grace=SOON * 2)
    calls = len(handler.calls)
    await asyncio.sleep(0)
    assert len(handler.calls) == calls


async def test_a_job_that_was_tried_too_often_is_given_up_and_the_next_runs(queue: JobQueue) -> None:
    handler = Handler(errors={"1": [Unavailable("later")] * 1000})
    await queue.start(handler, handler.give_up)
    await queue.enqueue("a", "1")
    await queue.enqueue("a", "2")
    assert await handler.finished(1) == [("a", "2")]
    assert handler.given_up == [("1", TRIES, "later")]
    assert handler.calls == [("a", "1")] * TRIES + [("a", "2")]


async def test_a_job_that_an_older_one_held_up_begins_anew(queue: JobQueue) -> None:
    handler = Handler(errors={"2": [Unavailable("the older one fails")] * TRIES})
    handler.refused = ["2"]
    await queue.start(handler, handler.give_up)
    await queue.enqueue("a", "2")
    assert await handler.finished(1) == [("a", "2")]
    assert handler.given_up == [("2", TRIES, "the older one fails")]


async def test_a_queue_that_takes_jobs_says_so(queue: JobQueue) -> None:
    await queue.check()
