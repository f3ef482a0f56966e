"""Runs one cell of the matrix: crash, recover, go on, compare with a run that never crashed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragstone.adapters.failpoints import Failpoints
from ragstone.domain.errors import RagstoneError
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases import recovery
from ragstone.use_cases.query import Question
from ragstone.use_cases.space_switch import switch_of
from ragstone.use_cases.write_path import WritePath
from tests.crash import cells, stores
from tests.crash.bases import difference, put, reference, remove
from tests.crash.cells import Cell
from tests.crash.oracle import COLLECTION, QUESTIONS, diagnoses, findings, picture
from tests.crash.processes import Tell, fork
from tests.crash.script import AFTERWARDS, Client, GivenUp, Step, insist
from tests.crash.world import CrashWorld, opened, soon

_MORE = "more"  # the collection that the route `created` makes
_DOOMED = IngestRequest((Upload("doomed.txt", b"This job fails.", "text/plain"),), message="doomed")
_PATIENCE = 90.0  # seconds
_SEARCHED = ("chunks", "searches", "answer", "refused")  # of a commit's picture, what an index shows
_LEASE = 61.0  # seconds that a lease lasts, and one
_LONGEST = 180.0  # seconds that a cell may take, over servers on a busy machine
Work = Callable[[Tell], Coroutine[Any, Any, None]]


class Differs(Exception):
    """A cell did not converge; the message says why."""


@dataclass
class CellRun:
    """One cell in a directory of its own under `work`, where the bases are. `told` are the ids of jobs that clients were told, by step."""

    work: Path
    cell: Cell
    told: dict[str, str] = field(default_factory=dict)
    _paused: asyncio.Event = field(default_factory=asyncio.Event)
    _go: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def shared(self) -> bool:
        """Whether the stores are servers, where nobody knows that a process was killed until its lease has run out."""
        return stores.of(self.work) is not None

    def run(self) -> str | None:
        """None when the cell converged, else why not."""
        directory = self.work / f"cell-{os.getpid()}"
        _in_a_fork(put(self.work, self.cell.base, directory))
        try:
            self._die(directory)
            asyncio.run(asyncio.wait_for(self._converge(directory), _LONGEST))
        except (Differs, GivenUp, TimeoutError) as difference:
            return str(difference) or "it took too long"
        finally:
            _in_a_fork(remove(directory))
        return None

    def _die(self, directory: Path) -> None:
        """In processes of their own, before this one has threads: those must not be forked."""
        if self.cell.route is cells.STARTING:
            self._killed(lambda tell: self._leaves_much_to_do(directory, tell))
        if self.cell.point.action == "kill":
            starting = self.cell.route is cells.STARTING
            self._killed((lambda _: self._starts(directory)) if starting else (lambda tell: self._dies(directory, tell)))

    def _killed(self, work: Work) -> None:
        lines, status = fork(lambda tell: asyncio.run(asyncio.wait_for(work(tell), _LONGEST))).wait()
        self.told |= dict(lines)
        if status != -signal.SIGKILL:
            raise Differs(f"the failpoint was not reached (status {status})")

    async def _converge(self, directory: Path) -> None:
        if self.cell.point.action == "kill" or self.cell.route is cells.STARTING:
            if self.cell.point.action != "kill":
                await self._starts(directory)
            async with opened(directory) as world:
                await self._go_on(world)
        else:
            async with self._open(directory) as world:
                if self.cell.point.action == "pause":
                    await self._is_overtaken(world)
                else:
                    await self._act(world, lambda _: None)
                world.failpoints.arm()
                await self._go_on(world)
        await self._equals_a_run_without(directory)

    async def _dies(self, directory: Path, tell: Tell) -> None:
        async with self._open(directory) as world:
            await self._act(world, tell)

    async def _starts(self, directory: Path) -> None:
        failpoints = Failpoints([self.cell.point])
        with suppress(RagstoneError, RuntimeError):
            async with opened(directory, failpoints=failpoints):
                pass
        if not failpoints.fired:
            raise Differs("the failpoint was not reached")

    async def _leaves_much_to_do(self, directory: Path, tell: Tell) -> None:
        async with self._open(directory) as world:
            world.failpoints.arm(*self.cell.route.spoiler)
            await self._client(self.cell.step, tell, sweeps=False).done(world)
            await world.platform.ingest.submit(COLLECTION, _DOOMED)
            await self._paused.wait()  # in the doomed job
            await self._client(AFTERWARDS[0], tell).accepted(world)
            self._go.set()
            await asyncio.sleep(_LONGEST)

    async def _is_overtaken(self, world: CrashWorld) -> None:
        """The writer stops, its lease runs out, another one takes over and publishes two commits more, and then the first one wakes up."""
        first = asyncio.create_task(self._act(world, lambda _: None))
        stopped = asyncio.create_task(self._paused.wait())
        await asyncio.wait({first, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not self._paused.is_set():
            stopped.cancel()
            raise Differs("the failpoint was not reached")
        world.clock.move(_LEASE)
        second = world.writer("B")
        for step in AFTERWARDS:
            await run_writer(second, await self._client(step, lambda _: None).accepted(world))
        before = await picture(world)
        self._go.set()
        await first
        after = (await picture(world))[: len(before)]
        for was, now in zip(before, after, strict=True):
            dropped = self.cell.route is cells.LEFT and now["refused"]  # the drop that was asked for may come late, and so may a tag
            may_differ = {"tags", *(_SEARCHED if dropped else ())}
            if any(was[name] != now[name] for name in was.keys() - may_differ):
                raise Differs("a read changed when the first writer woke up")

    async def _act(self, world: CrashWorld, tell: Tell) -> None:
        """The target's request, by whoever asks until it is done; then the failpoint must have been reached."""
        world.failpoints.arm(*self.cell.route.spoiler, self.cell.point)
        if self.cell.route is cells.CREATED:
            await insist(lambda: world.platform.collections.ensure(_MORE))
        elif self.cell.route is cells.ASKED:
            await insist(lambda: world.platform.query.run(Question(COLLECTION, QUESTIONS[0])))
        else:
            await self._client(self.cell.step, tell, sweeps=self.cell.point.action != "pause").done(world)
        await world.platform.maintenance.idle()

        async def reached() -> bool:
            return self.cell.point in world.failpoints.fired

        if not await soon(reached, _PATIENCE):
            raise Differs("the failpoint was not reached")

    async def _go_on(self, world: CrashWorld) -> None:
        """The clients get what they asked for, and nothing is left of the crash."""
        if self.shared:
            world.clock.move(_LEASE)  # what was held by a process that was killed runs out
            recovery._SURELY_GONE = 0.0  # and a day has passed, in this fork
        if self.cell.route is cells.CREATED:
            await _is_usable(world)
        for step in self._steps():
            client = self._client(step, lambda _: None)
            client.job_id = self.told.get(step.name)
            await client.done(world)
        left: list[str] = []

        async def clean() -> bool:
            await world.platform.sweeper.sweep()
            left[:] = await findings(world.bare)
            return not left

        if not await soon(clean, _PATIENCE):
            raise Differs("; ".join(left[:5]))

    async def _equals_a_run_without(self, directory: Path) -> None:
        async with opened(directory) as world:
            if left := [*await findings(world.bare), *await diagnoses(world)]:
                raise Differs("after another start: " + "; ".join(left[:5]))
            shown = await picture(world)
            order = await self._order(world)
        expected = await reference(self.work, self.cell.base, order, directory)
        if json.loads(json.dumps(shown)) != expected:
            raise Differs(f"it shows {difference(shown, expected)}")

    async def _order(self, world: CrashWorld) -> list[Step]:
        """The steps in the order in which their jobs were accepted."""
        steps = {step.name: step for step in self._steps()}
        jobs = sorted(await world.bare.catalog.jobs(COLLECTION, limit=1000), key=lambda job: job.number)
        ended = [self.cell.step.name if switch_of(job) else job.request.message for job in jobs if job.state in ("published", "unchanged")]
        accepted = list(dict.fromkeys(name for name in ended if name in steps))
        order = [step for step in steps.values() if step.tag is not None or step.space == "give up"] + [steps[name] for name in accepted]
        if order != self._steps() and not (self.cell.point.action == "pause" and len(order) == len(steps)):
            raise Differs(f"jobs ended in the order {accepted}")
        return order

    def _steps(self) -> list[Step]:
        asked = self.cell.route in (cells.ASKED, cells.CREATED)
        return [*AFTERWARDS] if asked else [self.cell.step, *AFTERWARDS]

    def _client(self, step: Step, tell: Tell, *, sweeps: bool = True) -> Client:
        def told(name: str, job_id: str) -> None:
            self.told[name] = job_id
            tell([name, job_id])

        return Client(step, told=told, sweeps=sweeps)

    @asynccontextmanager
    async def _open(self, directory: Path) -> AsyncIterator[CrashWorld]:
        async def pause(name: str) -> None:
            if self.cell.route is cells.RENEWED and name != self.cell.point.name:
                world.own_clock.move(45)  # the lease has just been acquired; what is left of it is too little for a request
                return
            self._paused.set()
            await self._go.wait()
            if self.cell.route is cells.STARTING:
                raise RuntimeError("the second job fails")

        optimise_after = 1 if self.cell.route is cells.OPTIMISED else 10**9
        async with opened(directory, failpoints=Failpoints(pause=pause), optimise_after=optimise_after) as world:
            yield world


def _in_a_fork(work: Coroutine[Any, Any, None]) -> None:
    """It may start threads there."""
    _, status = fork(lambda _: asyncio.run(work)).wait()
    work.close()  # of this process, which has not awaited it
    if status:
        raise RuntimeError("the collection could not be made or removed")


async def run_writer(writer: WritePath, job_id: str) -> None:
    """Until the job has ended."""
    for _ in range(1000):
        with suppress(RagstoneError):  # the other writer is in its way, or it has lost a lease to it
            await writer.run(COLLECTION, job_id)
            return
        await asyncio.sleep(0.005)
    raise Differs("the second writer could not do a job")


async def _is_usable(world: CrashWorld) -> None:
    """The collection that was being made when the crash came; it goes again, so that everything else can be compared."""
    await insist(lambda: world.platform.collections.ensure(_MORE))
    await world.platform.sweeper.sweep()
    job = await world.platform.ingest.submit(_MORE, IngestRequest((Upload("a.txt", b"The ferry leaves.", "text/plain"),)))
    if (await world.platform.ingest.wait(job.id, 10)).state != "published":
        raise Differs("the collection takes no documents")
    await world.platform.maintenance.idle()
    await world.platform.collections.delete(_MORE)
