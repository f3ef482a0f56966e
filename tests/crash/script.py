"""The workload of the matrix: jobs that put, change, delete, move and roll back, and the client that sends them until they are done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from ragstone.domain.errors import NotFound, RagstoneError
from ragstone.domain.jobs import TERMINAL, Delete, Job, Move
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases.reembedding import Reembedding
from tests.crash.oracle import COLLECTION
from tests.crash.world import OTHER, CrashWorld

_TURNS = 1000  # of 25 ms, until a client gives up


@dataclass(frozen=True)
class Step:
    """One request. `rollback` is a position; `tag` one that gets the step's name as its tag. `space`: another space is built, and switched to or given up; or switched to and the
    one of before dropped, though its commits are kept.
    """

    name: str
    puts: dict[str, str] = field(default_factory=dict)
    deletes: tuple[str, ...] = ()
    moves: tuple[tuple[str, str], ...] = ()
    rollback: int | None = None
    tag: int | None = None
    space: Literal["switch", "give up", "leave"] | None = None

    def request(self) -> IngestRequest:
        return IngestRequest(
            tuple(Upload(path, text.encode(), "text/plain") for path, text in self.puts.items()),
            tuple(Delete(path) for path in self.deletes),
            tuple(Move(source, target) for source, target in self.moves),
            message=self.name,
        )


def text(subject: str, *sentences: str) -> str:
    return "\n\n".join(f"{sentence} The {subject} is what this part of the handbook is about, and nothing else." for sentence in sentences)


FERRY = text("ferry", "The ferry leaves at nine.", "Bring a warm coat.", "Tickets are sold on board.")
LAMP = text("lamp", "The lamp is lit at dusk.", "Its oil lasts until dawn.")
KEEPERS = text("lighthouse", "Lighthouse keepers count every ship that passes.", "They write it down.", "Nobody reads it.")
LATER = text("ferry", "The ferry leaves at ten.", "Bring a warm coat.", "Tickets are sold at the pier.")

HISTORY = (
    Step("begin", {"ferry.txt": FERRY, "lamp.txt": LAMP, "keepers.txt": KEEPERS}),
    Step("change", {"ferry.txt": LATER, "pier.txt": text("pier", "The pier was built of oak.", "It creaks.")}),
    Step(
        "mix", {"crew.txt": text("crew", "Four people are on board.")}, deletes=("lamp.txt",), moves=(("keepers.txt", "old/keepers.txt"),)
    ),
    Step("back", rollback=1),
    Step("grow", {f"notes/{day}.txt": text(f"day {day}", f"On day {day} it rained.", "Nothing happened.") for day in range(6)}),
    Step(
        "shrink", {"lamp.txt": text("lamp", "The lamp is lit at six.", "Its oil lasts until dawn.")}, deletes=("notes/1.txt", "notes/2.txt")
    ),
)
# What is done to the collection after the crash: a change, then a delete with a rollback's worth of reopened chunks.
AFTERWARDS = (
    Step(
        "after-1",
        {"ferry.txt": text("ferry", "The ferry leaves at noon.", "Bring a warm coat."), "bell.txt": text("bell", "The bell rings twice.")},
    ),
    Step("after-2", {"lamp.txt": LAMP}, deletes=("bell.txt",)),
)


class GivenUp(Exception):
    """The client waited too long."""


@dataclass
class Client:
    """Sends one step until it is done: again, under the same key, when it got no answer; as a new request when the job failed for a reason of the server's.

    `told` hears the step's name and the job's id as soon as the request is acknowledged. `sweeps`: while it waits it does what the sweeper does now
    and then.
    """

    step: Step
    job_id: str | None = None
    told: Callable[[str, str], None] = lambda *_: None
    sweeps: bool = True
    _begun: bool = False  # the build of a space
    _tries: int = 0
    _turns: int = 0

    async def accepted(self, world: CrashWorld) -> str:
        """The job's id, once the request is acknowledged."""
        while self.job_id is None:
            await self._turn()
            with suppress(RagstoneError, RuntimeError):  # what a failpoint raises
                self.job_id = (await self._submit(world)).id
                self.told(self.step.name, self.job_id)
        return self.job_id

    async def done(self, world: CrashWorld) -> None:
        """Returns when the request was carried out."""
        if self.step.tag is not None:
            await insist(lambda: world.platform.history.tag(COLLECTION, self.step.name, f"#{self.step.tag}"))
            return
        if self.step.space is not None:
            await self._space(world)
            return
        while True:
            await self._turn()
            job_id = await self.accepted(world)
            try:
                job = await world.platform.ingest.wait(job_id, 0.025)
            except NotFound:
                raise GivenUp(f"the acknowledged job of {self.step.name} is gone") from None
            if job.state == "failed" and job.result and job.result.status >= 500:
                self.job_id, self._tries = None, self._tries + 1
            elif job.state == "failed":
                raise GivenUp(f"{self.step.name} failed: {job.result}")
            elif job.state in TERMINAL:
                return
            elif self.sweeps:
                with suppress(RagstoneError, RuntimeError):
                    await world.platform.sweeper.sweep()

    async def _space(self, world: CrashWorld) -> None:
        """Builds the other space, then switches to it, and leaves the one of before, or gives it up, whatever was done before."""
        reembedding, done = world.platform.reembedding, False
        while not done:
            await self._turn()
            await asyncio.sleep(0.01)
            world.platform.builder.wake()
            with suppress(RagstoneError, RuntimeError):
                done = await self._further(world, reembedding)
            if self.sweeps and self._turns % 50 == 0:
                with suppress(RagstoneError, RuntimeError):
                    await world.platform.sweeper.sweep()

    async def _further(self, world: CrashWorld, reembedding: Reembedding) -> bool:
        """One step on the way; whether that was the last."""
        found = [status for status in await reembedding.status(COLLECTION) if status.space.model.revision == OTHER]
        if not found:
            if self._begun and self.step.space == "give up":
                return True
            await reembedding.start(COLLECTION, model=world.bare.further[0].identity.digest)
            self._begun = True
            return False
        (status,) = found
        if self.step.space == "give up":
            if status.state in ("filling", "ready"):
                self._begun = True
                await reembedding.drop(COLLECTION, status.space.id)
            return False
        if status.state == "ready":
            if self.job_id is None:
                self.job_id = (await reembedding.switch(COLLECTION, status.space.id)).id
                self.told(self.step.name, self.job_id)
            job = await world.platform.ingest.wait(self.job_id, 0.025)
            if job.state == "failed":
                if job.result is None or job.result.status < 500:
                    raise GivenUp(f"{self.step.name} failed: {job.result}")
                self.job_id = None
        return status.state == "live" and (self.step.space == "switch" or await self._left(reembedding))

    async def _left(self, reembedding: Reembedding) -> bool:
        """Drops the space of before; whether nothing of it is there any more."""
        before = [status for status in await reembedding.status(COLLECTION) if status.space.model.revision != OTHER]
        if before and before[0].state == "old":
            await reembedding.drop(COLLECTION, before[0].space.id, force=True)
        return not before

    async def _turn(self) -> None:
        self._turns += 1
        if self._turns > _TURNS:
            raise GivenUp(f"{self.step.name} was not done")
        await asyncio.sleep(0.001)

    async def _submit(self, world: CrashWorld) -> Job:
        if self.step.rollback is not None:
            return await world.platform.history.rollback(COLLECTION, f"#{self.step.rollback}", message=self.step.name)
        key = f"{self.step.name}-{self._tries}"
        return await world.platform.ingest.submit(COLLECTION, self.step.request(), idempotency_key=key)


async def insist(work: Callable[[], Awaitable[object]]) -> None:
    """Does it again until it succeeds."""
    for _ in range(_TURNS):
        with suppress(RagstoneError, RuntimeError):
            await work()
            return
        await asyncio.sleep(0.001)
    raise GivenUp("it was not done")
