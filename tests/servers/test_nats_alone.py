"""What comes again after its worker died is worked on alone, and no death counts for what has not begun: over a real NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from ragstone.adapters import nats_queue
from ragstone.adapters.nats_names import Names
from ragstone.adapters.nats_queue import NatsJobQueue
from ragstone.domain.errors import RagstoneError, Unavailable
from tests.servers import nats

pytestmark = pytest.mark.packaged
_PATIENCE = 60.0  # seconds
_ACK_WAIT = 1.0  # seconds
_LOOKS = 0.2  # seconds between looks for messages
_WHILE = 5 * _LOOKS  # seconds in which whatever may begin does
_TRIES = 3
POISON, INNOCENT = "poison", ("a", "b", "c")
NOTHING_BESIDE: dict[str, set[str]] = {one: set() for one in INNOCENT}


@dataclass
class Worker:
    """What its jobs do is said by their collections: those `held` wait until they are let go, those `away` are handed back so many times."""

    held: set[str] = field(default_factory=set)
    away: dict[str, int] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    begun: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    beside: dict[str, set[str]] = field(default_factory=dict)  # what else was under way while each was
    dead: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, collection: str, job: str) -> None:
        self.begun.append(collection)
        self.running.add(collection)
        for one in self.running:
            self.beside.setdefault(one, set()).update(self.running - {one})
        try:
            await self._tell()
            if collection == POISON:
                self.dead = True
            await self.until(lambda: collection not in self.held and not self.dead)
            await asyncio.sleep(_LOOKS)  # others would begin meanwhile
            if self.away.get(collection):
                self.away[collection] -= 1
                raise Unavailable("it is away")
            self.done.append(collection)
        finally:
            self.running.discard(collection)
            await asyncio.shield(self._tell())

    async def give_up(self, collection: str, job: str, tries: int, error: RagstoneError | None) -> bool:
        self.given_up.append(collection)
        await self._tell()
        return True

    async def let_go(self, collection: str) -> None:
        self.held.discard(collection)
        await self._tell()

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE), self.changed:
            await self.changed.wait_for(seen)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


class Place:
    """A server's streams of one test."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._names: Names = nats.names()

    @asynccontextmanager
    async def works(self, worker: Worker, parallel: int = 4, *, pause: float = 0.001) -> AsyncIterator[NatsJobQueue]:
        """At the end it dies: it says nothing about what it has under way. `pause`: seconds until what was handed back comes again."""
        connection = nats.connection(self._url, self._names)
        queue = NatsJobQueue(
            connection, self._names, parallel=parallel, tries=_TRIES, ack_wait=_ACK_WAIT, first_pause=pause, longest_pause=pause
        )
        await queue.start(worker.handle, worker.give_up)
        try:
            yield queue
        finally:
            await connection.close()
            await queue.stop(grace=0.0)
            await connection.close()  # a place may have made it anew meanwhile

    async def died_of(self, *collections: str) -> None:
        """A worker that had begun a job of each."""
        worker = Worker(held=set(collections))
        async with self.works(worker, len(collections)) as queue:
            for collection in collections:
                await queue.enqueue(collection, "1")
            await worker.until(lambda: worker.running == set(collections))

    async def deliveries(self, *collections: str) -> int:
        """Of all messages of the collections together."""
        connection = nats.connection(self._url, self._names)
        js, stream = (await connection.client()).jetstream(), str(self._names.jobs.name)
        found = [await js.consumer_info(stream, collection) for collection in collections]
        await connection.close()
        return sum(info.delivered.consumer_seq for info in found if info.delivered)


@pytest.fixture
def place(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(nats_queue, "_LOOK", _LOOKS)
    return Place(nats_url)


@pytest.mark.parametrize("parallel", [1, 4])
async def test_what_a_worker_may_have_died_of_is_worked_on_alone(place: Place, parallel: int) -> None:
    await place.died_of(*INNOCENT)
    worker, new = Worker(), ("d", "e", "f")
    async with place.works(worker, parallel) as queue:
        for collection in new:
            await queue.enqueue(collection, "1")
        await worker.until(lambda: set(worker.done) == {*INNOCENT, *new})
    assert {one: worker.beside[one] for one in INNOCENT} == NOTHING_BESIDE


async def test_a_job_that_workers_die_of_takes_no_other_along(place: Place) -> None:
    """Each worker that dies of it has the others under way or in reach; each counts one death at most."""
    await place.died_of(POISON, *INNOCENT)
    lives = [await _life(place)]
    while not lives[-1].given_up:
        lives.append(await _life(place))
    last = Worker()
    async with place.works(last):
        await last.until(lambda: {one for life in (*lives, last) for one in life.done} == set(INNOCENT) or bool(last.given_up))
    assert [one for life in (*lives, last) for one in life.given_up] == [POISON]
    assert sum(life.dead for life in lives) == _TRIES - 1


async def test_a_death_counts_only_for_what_had_begun(place: Place) -> None:
    await place.died_of(*INNOCENT)
    worker = Worker(held=set(INNOCENT))
    async with place.works(worker):
        await worker.until(lambda: bool(worker.running))
        await asyncio.sleep(_WHILE)
        assert await place.deliveries(*INNOCENT) == len(INNOCENT) + 1


async def test_one_that_comes_again_waits_for_what_is_under_way_and_nothing_new_begins_before_it(place: Place) -> None:
    await place.died_of("a")
    worker = Worker(held={"first"})
    async with place.works(worker) as queue:
        await _waits_behind_the_first(place, worker, queue)
        await queue.enqueue("second", "1")
        await asyncio.sleep(_WHILE)
        assert worker.begun == ["first"]
        await worker.let_go("first")
        await worker.until(lambda: len(worker.done) == 3)
    assert worker.begun == ["first", "a", "second"]
    assert worker.beside == {"first": set(), "a": set(), "second": set()}


async def test_stopping_does_not_begin_one_that_waits(place: Place) -> None:
    await place.died_of("a")
    worker = Worker(held={"first"})
    async with place.works(worker) as queue:
        await _waits_behind_the_first(place, worker, queue)
        stopping = asyncio.create_task(queue.stop(grace=_PATIENCE))
        await asyncio.sleep(0)
        await worker.let_go("first")
        async with asyncio.timeout(_PATIENCE / 2):
            await stopping
        assert worker.begun == worker.done == ["first"]
    another = Worker()
    async with place.works(another):
        await another.until(lambda: another.done == ["a"])


async def test_what_an_outage_sent_back_goes_on_together(place: Place) -> None:
    worker = Worker(away=dict.fromkeys(INNOCENT, 1))
    async with place.works(worker) as queue:
        for collection in INNOCENT:
            await queue.enqueue(collection, "1")
        await worker.until(lambda: not any(worker.away.values()))
        worker.held |= set(INNOCENT)
        await worker.until(lambda: worker.running == set(INNOCENT))


async def test_what_an_outage_sent_back_after_a_death_stays_alone(place: Place) -> None:
    """It may not have come to what its worker died of."""
    await place.died_of(*INNOCENT)
    worker = Worker(away=dict.fromkeys(INNOCENT, 1))
    async with place.works(worker, pause=2.0):  # longer than all are tried once, so that they would come together
        await worker.until(lambda: not any(worker.away.values()))
        worker.held |= set(INNOCENT)
        await worker.until(lambda: bool(worker.running))
        await asyncio.sleep(_WHILE)
        for one in INNOCENT:
            await worker.let_go(one)
        await worker.until(lambda: set(worker.done) == set(INNOCENT))
    assert len(worker.begun) == 2 * len(INNOCENT)
    assert worker.beside == NOTHING_BESIDE


async def _life(place: Place) -> Worker:
    """A worker's that works until it dies of the poison, or gives something up."""
    worker = Worker()
    async with place.works(worker):
        await worker.until(lambda: worker.dead or bool(worker.given_up))
    return worker


async def _waits_behind_the_first(place: Place, worker: Worker, queue: NatsJobQueue) -> None:
    """Returns once "first" is under way and the message of "a" is here again."""
    await queue.enqueue("first", "1")
    await worker.until(lambda: worker.begun == ["first"])
    async with asyncio.timeout(_PATIENCE):
        while await place.deliveries("a") < 2:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(_LOOKS)
