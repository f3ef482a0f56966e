"""What a process does between two kills: it recovers, checks what it finds, then two writers work off what two clients ask for while two readers read."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ragstone.adapters.failpoints import Failpoint, Failpoints
from ragstone.domain.errors import Gone, RagstoneError
from ragstone.domain.jobs import TERMINAL, Job
from ragstone.domain.retention import Keep
from ragstone.use_cases import retention, snapshots
from tests.crash.oracle import COLLECTION, Expected, commits, diagnoses, findings
from tests.crash.processes import Tell
from tests.crash.reading import Reads
from tests.crash.steps import kill_at
from tests.crash.workload import Model, Operation, operation
from tests.crash.world import CrashWorld, opened, soon

_CLIENTS = 2
_READERS = 3
_READS_A_TELL = 10
_TTL = 0.05  # seconds; the head's time to live and the grace of pruning, shortened in step


@dataclass
class Known:
    """What outlives the killed processes: the clients' memory. `waiting` are requests whose answer never came, by key."""

    acknowledged: dict[str, Operation] = field(default_factory=dict)  # by job id
    tagged: dict[str, str] = field(default_factory=dict)  # name -> commit id
    waiting: dict[str, Operation] = field(default_factory=dict)
    checked: int = 0  # position up to which commits were compared with the model
    reads: int = 0
    reads_wanted: int = 0

    def hear(self, line: list[Any]) -> None:
        """A line that a living process told."""
        match line:
            case ["sending", fields]:
                self.waiting[fields["key"]] = Operation(**fields)
            case ["acknowledged", key, job_id]:
                self.acknowledged[job_id] = self.waiting.pop(key)
            case ["tagged", key]:
                self.tagged[key] = self.waiting.pop(key).target
            case ["refused", key]:
                self.waiting.pop(key, None)
            case ["checked", position]:
                self.checked = position


@dataclass
class Life:
    """One process. `point` is armed, or the process dies at `step` (see `steps.kill_at`), once the work begins, or for the start when `at_start`. `thorough`: the doctor is asked too."""

    directory: Path
    seed: str
    known: Known
    point: Failpoint | None = None
    step: tuple[int, int, bool] | None = None
    at_start: bool = False
    thorough: bool = False
    last: bool = False

    def run(self, tell: Tell) -> None:
        """Until it is killed; the `last` one ends when everything was checked."""
        snapshots.HEAD_TTL, retention.GRACE = _TTL, 2 * _TTL
        asyncio.run(self._live(tell))

    async def _live(self, tell: Tell) -> None:
        failpoints = Failpoints()
        if self.at_start:
            self._arm(failpoints)
        async with opened(self.directory, failpoints=failpoints, optimise_after=400) as world, asyncio.TaskGroup() as group:
            readers = [group.create_task(self._reader(world, number, tell)) for number in range(_READERS)]
            await self._check(world, tell)
            if self.last:
                for reader in readers:
                    reader.cancel()
                return
            tell(["working"])
            failpoints.arm(*([self.point] if self.point else []))
            group.create_task(self._second_writer(world))
            for number in range(_CLIENTS):
                group.create_task(self._client(world, number, tell))

    def _arm(self, failpoints: Failpoints) -> None:
        failpoints.arm(*([self.point] if self.point else []))
        if self.step is not None:
            which, hit, after = self.step
            kill_at(which, hit, after=after)

    async def _check(self, world: CrashWorld, tell: Tell) -> None:
        """Everything accepted ends, in its order, and nothing else is there."""
        catalog = world.bare.catalog

        async def drained() -> bool:
            return await catalog.pending(COLLECTION) == 0

        if not await soon(drained, 40):
            tell(["lost", f"{await catalog.pending(COLLECTION)} jobs do not end"])
        jobs = sorted(await catalog.jobs(COLLECTION, limit=1_000_000), key=lambda job: job.number)
        model = self._replay(jobs, await self._pruned(world))
        self._compare(jobs, model, tell)
        tags = {tag.name: tag.commit_id for tag in await catalog.tags(COLLECTION)}
        for name, commit_id in self.known.tagged.items():
            if tags.get(name) != commit_id:
                tell(["lost", f"tag {name} is gone"])
        history = await commits(world.bare)
        fresh = history if self.last else [commit for commit in history if commit.position > self.known.checked] + history[:3]
        collection = await catalog.collection(COLLECTION)
        for commit in fresh:
            infos = await world.bare.versions.documents(collection.uid, commit.id, limit=10_000)
            if {info.path: info.checksum for info in infos} != dict(model.states[commit.id]):
                tell(["lost", f"#{commit.position} does not hold what its job asked for"])
        left: list[str] = []

        async def clean() -> bool:
            left[:] = await findings(world.bare, checked=fresh)
            return not left

        if not await soon(clean, 15):
            tell(["ghost", "; ".join(left[:5])])
        for diagnosis in await diagnoses(world) if self.last or self.thorough else []:
            tell(["ghost", diagnosis])
        tell(["checked", history[-1].position if history else 0])
        if self.last:
            tell(["end", len(await catalog.commits(COLLECTION, limit=1_000_000)), len(await self._pruned(world))])

    @staticmethod
    def _replay(jobs: list[Job], pruned: set[str]) -> Model:
        model = Model()
        for job in jobs:
            if job.state in TERMINAL:
                model.apply(job, pruned=bool(pruned))
        return model

    def _compare(self, jobs: list[Job], model: Model, tell: Tell) -> None:
        for surprise in model.surprises:
            tell(["lost", surprise])
        by_id = {job.id: job for job in jobs}
        for job_id, asked in self.known.acknowledged.items():
            if job_id not in by_id or not asked.asks_for(by_id[job_id].request):
                tell(["lost", f"the job of {asked.key} is gone or is another one"])
        messages = [job.request.message for job in jobs]
        for message in {message for message in messages if messages.count(message) > 1} if len(set(messages)) < len(messages) else ():
            tell(["ghost", f"{message} was accepted {messages.count(message)} times"])

    @staticmethod
    async def _pruned(world: CrashWorld) -> set[str]:
        return {commit.id for commit in await world.bare.catalog.commits(COLLECTION, limit=1_000_000) if commit.pruned_at is not None}

    async def _second_writer(self, world: CrashWorld) -> None:
        writer = world.writer("B", world.platform.adapters)
        while True:
            job = await world.bare.catalog.next_job(COLLECTION)
            if job is not None:
                with suppress(RagstoneError):  # the other writer has it
                    await writer.run(COLLECTION, job.id)
            await asyncio.sleep(0.005)

    async def _client(self, world: CrashWorld, number: int, tell: Tell) -> None:
        """Sends what was not answered again, then goes on; waits for every other job."""
        rng = random.Random(f"{self.seed}-client-{number}")
        for asked in [asked for key, asked in self.known.waiting.items() if key.split("-")[1] == str(number)]:
            if asked.kind in ("rollback", "tag", "prune"):  # these have no key: done or not, both are right
                tell(["refused", asked.key])
            else:
                await self._ask(world, asked, tell)
        seen = [commit.id for commit in await commits(world.bare)]
        count = 0
        while True:
            count += 1
            asked = operation(rng, f"{self.seed}-{number}-{count}", seen)
            tell(["sending", asdict(asked)])
            job = await self._ask(world, asked, tell)
            if job is not None and (rng.random() < 0.5 or await world.bare.catalog.pending(COLLECTION) > 6):
                job = await world.platform.ingest.wait(job.id, 20)
                if job.result and job.result.commit_id:
                    seen.append(job.result.commit_id)
            await asyncio.sleep(rng.random() * 0.01)

    async def _ask(self, world: CrashWorld, asked: Operation, tell: Tell) -> Job | None:
        platform = world.platform
        try:
            match asked.kind:
                case "tag":
                    await platform.history.tag(COLLECTION, asked.key, asked.target)
                    tell(["tagged", asked.key])
                    return None
                case "prune":
                    await platform.retention.prune(COLLECTION, Keep(last=asked.keep))
                    tell(["refused", asked.key])
                    return None
                case "rollback":
                    job = await platform.history.rollback(COLLECTION, asked.target, message=asked.key)
                case _:
                    job = await platform.ingest.submit(COLLECTION, asked.request(), idempotency_key=asked.key)
        except Gone:  # the commit was pruned
            tell(["refused", asked.key])
            return None
        tell(["acknowledged", asked.key, job.id])
        return job

    async def _reader(self, world: CrashWorld, number: int, tell: Tell) -> None:
        rng = random.Random(f"{self.seed}-reader-{number}")
        reads = Reads(world, Expected(world.bare), rng)
        while True:
            checked = 0
            while checked < _READS_A_TELL:
                outcome = await reads.one()
                if isinstance(outcome, str):
                    tell(["mixed", outcome])
                checked += outcome is not None
            tell(["reads", checked])
