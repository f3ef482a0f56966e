"""What every experiment tracker promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from ragstone.adapters.sqlite_releases import SqliteTracker
from ragstone.domain.errors import InvalidInput
from ragstone.domain.tracking import Run
from ragstone.ports.experiment_tracker import ExperimentTracker
from tests.fakes.experiment_tracker import InMemoryTracker

RUN = Run(
    "ragstone/docs",
    "uid-7",
    "#3 abcdef0123",
    {"embedding_model": "m", "language": "english"},
    {"documents": 3.0, "recall_at_5": 0.5, "seconds": 1.25},
    {"ragstone.commit": "abcdef0123456789"},
    1_700_000_000.5,
    1_700_000_001.75,
)


@pytest.fixture(params=["memory", "sqlite", pytest.param("mlflow", marks=[pytest.mark.packaged, pytest.mark.xdist_group("mlflow")])])
async def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ExperimentTracker]:
    adapter: ExperimentTracker
    if request.param == "mlflow":
        from ragstone.adapters.mlflow_tracking import MlflowTracker  # noqa: PLC0415 - six seconds of imports

        adapter = MlflowTracker(request.getfixturevalue("mlflow_uri"), prefix=uuid4().hex + "/")
    else:
        adapter = SqliteTracker(tmp_path / "ragstone.db") if request.param == "sqlite" else InMemoryTracker()
    yield adapter
    await adapter.close()


async def test_a_run_comes_back_whole(tracker: ExperimentTracker) -> None:
    await tracker.record(RUN)
    assert await tracker.runs(RUN.experiment) == [RUN]


async def test_a_run_is_recorded_once(tracker: ExperimentTracker) -> None:
    await tracker.record(RUN)
    await tracker.record(replace(RUN, metrics={"documents": 99.0}))
    assert [run.metrics["documents"] for run in await tracker.runs(RUN.experiment)] == [3.0]


async def test_one_that_is_there_says_so(tracker: ExperimentTracker) -> None:
    await tracker.check()


async def test_experiments_are_apart(tracker: ExperimentTracker) -> None:
    other = replace(RUN, experiment="ragstone/other")
    await asyncio.gather(tracker.record(RUN), tracker.record(other))
    assert await tracker.runs("ragstone/other") == [other]
    assert await tracker.runs("ragstone/none") == []


async def test_the_newest_come_first(tracker: ExperimentTracker) -> None:
    for number in (2, 1, 3):
        await tracker.record(replace(RUN, key=f"uid-{number}", began_at=RUN.began_at + number, ended_at=RUN.ended_at + number))
    assert [run.key for run in await tracker.runs(RUN.experiment)] == ["uid-3", "uid-2", "uid-1"]
    assert [run.key for run in await tracker.runs(RUN.experiment, limit=2)] == ["uid-3", "uid-2"]


async def test_texts_that_look_like_a_query_are_texts(tracker: ExperimentTracker) -> None:
    run = replace(RUN, key="it's \"x\" = '1", tags={"ragstone.author": "O'Neil \" OR 1=1"})
    await tracker.record(run)
    await tracker.record(run)
    assert await tracker.runs(RUN.experiment) == [run]


def test_a_metric_that_trackers_refuse_is_refused_early() -> None:
    with pytest.raises(InvalidInput, match="recall@5"):
        replace(RUN, metrics={"recall@5": 1.0})
