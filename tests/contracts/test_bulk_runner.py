"""What every runner of bulk work promises. The shards' programs are processes, but for the fake's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ragstone.adapters.file_bulk_stage import FileBulkStage
from ragstone.adapters.kubernetes_jobs import KubernetesJobs, PodTemplate
from ragstone.adapters.process_runner import ProcessRunner
from ragstone.domain.bulk import BulkRun, parts_of
from ragstone.domain.errors import Unavailable
from ragstone.ports.bulk_runner import BulkRunner
from ragstone.use_cases.bulk_shard import work_shard
from tests.fakes.bulk import TaskRunner
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support import kubernetes_api
from tests.support.bulk_shard import DIMENSION, Model

PROGRAM = (sys.executable, "-m", "tests.support.bulk_shard")
POD = {"spec": {"containers": [{"name": "shard", "image": "ragstone/orchestrator:1"}]}}
RUN = BulkRun("01job_space", HashingEmbeddingModel(DIMENSION).identity, 3, 0.0)
DOCUMENTS = [(f"{number}.txt", {f"{number:064x}": f"text {number}"}) for number in range(60)]
TEXTS = [own for _, texts in DOCUMENTS for own in texts.values()]


@dataclass
class Place:
    """A runner with two retries, the stage, and the folder of troubles."""

    runner: BulkRunner
    stage: FileBulkStage
    trouble: Path
    cluster: kubernetes_api.Cluster | None = None

    @property
    def embedded(self) -> list[str]:
        notes = self.trouble / "embedded"
        return [line.split(" ", 1)[1] for line in notes.read_text().splitlines()] if notes.exists() else []

    async def order(self, run: BulkRun = RUN) -> None:
        await self.stage.order(run, parts_of(DOCUMENTS, run.shards, 5))

    async def texts(self, run_id: str = RUN.id) -> int:
        """How many have vectors."""
        return sum(len(part.hashes) for part in await self.stage.vectors(run_id))

    async def begun(self) -> None:
        async with asyncio.timeout(120):
            while not self.embedded:  # noqa: ASYNC110 - other processes tell nothing
                await asyncio.sleep(0.02)


@pytest.fixture(params=["tasks", "processes", "kubernetes"])
async def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    stage, trouble = FileBulkStage(tmp_path / "bulk"), tmp_path / "trouble"
    trouble.mkdir()
    variables = {"BULK_STAGE": str(tmp_path / "bulk"), "BULK_TROUBLE": str(trouble)}
    match request.param:
        case "tasks":
            for name, value in variables.items():
                monkeypatch.setenv(name, value)

            async def work(run_id: str, shard: int) -> None:
                def killed() -> None:
                    raise Unavailable("killed")

                await work_shard(stage, run_id, shard, Model(shard, killed))

            yield Place(TaskRunner(work, retries=2), stage, trouble)
        case "processes":

            def command(run_id: str, shard: int) -> tuple[str, ...]:
                return (*PROGRAM, "bulk-shard", run_id, str(shard))

            yield Place(ProcessRunner(command, variables={**variables, "SHARD_LIVES_WITH_STDIN": "1"}, retries=2), stage, trouble)
        case _:
            with kubernetes_api.cluster(tmp_path, PROGRAM, variables) as (cluster, kubeconfig):
                runner = KubernetesJobs(PodTemplate(POD), namespace=kubernetes_api.NAMESPACE, retries=2, kubeconfig=kubeconfig, look=0.05)
                yield Place(runner, stage, trouble, cluster)
                await runner.close()
                assert cluster.jobs == {}


async def test_every_shard_is_worked_off(place: Place) -> None:
    await place.order()
    await place.runner.run(RUN)
    assert await place.texts() == 60
    assert sorted(place.embedded) == sorted(TEXTS)
    await place.runner.run(RUN)  # nothing is left to do
    assert len(place.embedded) == 60


async def test_a_shard_that_is_killed_is_started_again_and_loses_one_part(place: Place) -> None:
    for shard in (0, 2):
        (place.trouble / str(shard)).touch()
    await place.order()
    await place.runner.run(RUN)
    assert await place.texts() == 60
    assert 60 < len(place.embedded) <= 60 + 2 * 5
    assert set(place.embedded) == set(TEXTS)


async def test_a_shard_that_never_lives_long_is_given_up(place: Place) -> None:
    (place.trouble / "forever").touch()
    await place.order()
    with pytest.raises(Unavailable, match=r"[Ss]hard"):
        await place.runner.run(RUN)
    assert await place.stage.vectors(RUN.id) == []
    (place.trouble / "forever").unlink()
    await place.runner.run(RUN)
    assert await place.texts() == 60


async def test_cancelled_it_leaves_nothing_at_work(place: Place) -> None:
    (place.trouble / "slow").touch()
    await place.order()
    working = asyncio.create_task(place.runner.run(RUN))
    await place.begun()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    (place.trouble / "slow").unlink()
    before = len(place.embedded)
    await asyncio.sleep(0.5)
    assert len(place.embedded) - before <= 2 * 5  # of shards that were just being started
    assert await place.stage.vectors(RUN.id) == []


async def test_two_runs_at_once(place: Place) -> None:
    other = BulkRun("02job_space", RUN.model, 2, 0.0)
    await place.order()
    await place.order(other)
    await asyncio.gather(place.runner.run(RUN), place.runner.run(other))
    assert await place.texts() == await place.texts(other.id) == 60


async def test_a_run_that_is_over_ends_at_once(place: Place) -> None:
    await place.runner.run(RUN)
    assert place.embedded == []
