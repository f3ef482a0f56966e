"""What every interaction log promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.domain.errors import NotFound
from ragstone.domain.interactions import Feedback, Interaction
from ragstone.ports.interaction_log import InteractionLog
from tests.fakes.interaction_log import InMemoryInteractionLog


@pytest.fixture(params=["sqlite", "memory"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[InteractionLog]:
    adapter: InteractionLog = SqliteInteractionLog(tmp_path / "ragstone.db") if request.param == "sqlite" else InMemoryInteractionLog()
    yield adapter
    await adapter.close()


def interaction(number: int, collection: str = "docs") -> Interaction:
    return Interaction(
        id=f"i{number}",
        collection=collection,
        question="Was ist ü?\n日本語",
        release_id="r",
        commit_id="0" * 40,
        seq=3,
        position=2,
        space_id="s",
        principal="ada",
        created_at=1000.25,
        request={"top_k": 8, "filter": None, "nested": {"list": [1, 2.5, "x", True]}},
        answer={"text": "42", "grounded": 1.0},
        passages=({"path": "a", "score": 0.1}, {"path": "b", "score": 1e-9}),
        models={"embedder": "m"},
        timings={"total": 12.5, "embed": 0.1},
    )


async def test_an_interaction_comes_back_exactly(log: InteractionLog) -> None:
    await log.append(interaction(1))
    assert await log.get("i1") == interaction(1)
    with pytest.raises(NotFound):
        await log.get("absent")


async def test_appending_an_id_again_replaces_nothing(log: InteractionLog) -> None:
    await log.append(interaction(1))
    await log.add_feedback("i1", Feedback(thumb=1))
    await log.append(replace(interaction(1), question="other"))
    assert (await log.get("i1")).question == interaction(1).question
    assert len((await log.get("i1")).feedback) == 1
    assert len(await log.recent()) == 1


async def test_feedback_is_appended(log: InteractionLog) -> None:
    first, second = Feedback(thumb=-1, comment="nö", tags=("a", "b"), created_at=5.5), Feedback(score=0.5)
    await log.append(interaction(1))
    await log.add_feedback("i1", first)
    assert await log.add_feedback("i1", second) == replace(interaction(1), feedback=(first, second))
    assert await log.get("i1") == (await log.recent())[0] == replace(interaction(1), feedback=(first, second))
    with pytest.raises(NotFound):
        await log.add_feedback("absent", first)


async def test_recent_ones_are_paged_newest_first(log: InteractionLog) -> None:
    for number in range(7):
        await log.append(interaction(number, "other" if number % 3 == 0 else "docs"))
    first = await log.recent("docs", limit=2)
    second = await log.recent("docs", before=first[-1].id, limit=9)
    assert [each.id for each in first + second] == ["i5", "i4", "i2", "i1"]
    assert [each.id for each in await log.recent(before="i5", limit=3)] == ["i4", "i3", "i2"]
    assert await log.recent("absent") == []
    assert await log.recent(before="absent") == []


async def test_many_appends_at_once_are_all_kept(log: InteractionLog) -> None:
    await asyncio.gather(*(log.append(interaction(number)) for number in range(200)))
    assert {each.id for each in await log.recent(limit=1000)} == {f"i{number}" for number in range(200)}


async def test_a_cancelled_append_does_not_harm_others(log: InteractionLog) -> None:
    tasks = [asyncio.create_task(log.append(interaction(number))) for number in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for number, result in enumerate(results) if result is not None] in ([3], [])
    for number in (0, 1, 2, 4, 9):
        assert await log.get(f"i{number}") == interaction(number)
