"""What every interaction log promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragstone.adapters.mongo_interactions import MongoInteractionLog
from ragstone.adapters.redacting_log import RedactingInteractionLog
from ragstone.adapters.spooled_log import SpooledInteractionLog
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.domain.errors import NotFound
from ragstone.domain.interactions import PURGED, CitedChunk, Feedback, Interaction, InteractionFilter
from ragstone.domain.redaction import Redaction
from ragstone.ports.interaction_log import InteractionLog
from tests.fakes.interaction_log import InMemoryInteractionLog
from tests.servers import mongo


def adapters(kind: str, directory: Path) -> InteractionLog:
    match kind:
        case "sqlite":
            return SqliteInteractionLog(directory / "ragstone.db")
        case "spooled":
            return SpooledInteractionLog(SqliteInteractionLog(directory / "ragstone.db"), directory / "spool", 2**20)
        case "redacting":
            return RedactingInteractionLog(SqliteInteractionLog(directory / "ragstone.db"), Redaction())
        case _:
            return InMemoryInteractionLog()


@pytest.fixture(params=["sqlite", "spooled", "redacting", "memory", pytest.param("mongo", marks=pytest.mark.packaged)])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[InteractionLog]:
    async with AsyncExitStack() as stack:
        adapter: InteractionLog
        if request.param == "mongo":
            database = await stack.enter_async_context(mongo.database(request.getfixturevalue("mongo_url")))
            adapter = MongoInteractionLog(database, mongo.dependency("interactions"))
        else:
            adapter = adapters(request.param, tmp_path)
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
    assert len(await log.page(InteractionFilter())) == 1


async def test_feedback_is_appended(log: InteractionLog) -> None:
    first, second = Feedback(thumb=-1, comment="nö", tags=("a", "b"), created_at=5.5), Feedback(score=0.5)
    await log.append(interaction(1))
    await log.add_feedback("i1", first)
    assert await log.add_feedback("i1", second) == replace(interaction(1), feedback=(first, second))
    assert await log.get("i1") == (await log.page(InteractionFilter()))[0] == replace(interaction(1), feedback=(first, second))
    with pytest.raises(NotFound):
        await log.add_feedback("absent", first)


async def test_recent_ones_are_paged_newest_first(log: InteractionLog) -> None:
    for number in range(7):
        await log.append(interaction(number, "other" if number % 3 == 0 else "docs"))
    first = await log.page(InteractionFilter("docs"), limit=2)
    second = await log.page(InteractionFilter("docs"), before=first[-1].id, limit=9)
    assert [each.id for each in first + second] == ["i5", "i4", "i2", "i1"]
    assert [each.id for each in await log.page(InteractionFilter(), before="i5", limit=3)] == ["i4", "i3", "i2"]
    several = InteractionFilter(collections=frozenset({"docs", "absent"}))
    assert [each.id for each in await log.page(several, before="i5", limit=2)] == ["i4", "i2"]
    assert await log.page(InteractionFilter("other", collections=frozenset({"docs"}))) == []
    assert await log.page(InteractionFilter(collections=frozenset())) == []
    assert await log.page(InteractionFilter("absent")) == []
    assert await log.page(InteractionFilter(), before="absent") == []


async def test_many_appends_at_once_are_all_kept(log: InteractionLog) -> None:
    await asyncio.gather(*(log.append(interaction(number)) for number in range(200)))
    assert {each.id for each in await log.page(InteractionFilter(), limit=1000)} == {f"i{number}" for number in range(200)}


async def test_a_cancelled_append_does_not_harm_others(log: InteractionLog) -> None:
    tasks = [asyncio.create_task(log.append(interaction(number))) for number in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for number, result in enumerate(results) if result != "stored"] in ([3], [])
    for number in (0, 1, 2, 4, 9):
        assert await log.get(f"i{number}") == interaction(number)


def answered(number: int, *parts: tuple[str, str, bool], **fields: Any) -> Interaction:
    """An interaction with passages (path, chunk, cited)."""
    passages = tuple(
        {
            "path": path,
            "chunk_id": chunk,
            "text": f"secret {chunk}",
            "title": "T",
            "heading_path": ["H"],
            "metadata": {"team": "x"},
            "score": 0.5,
        }
        for path, chunk, _ in parts
    )
    citations = [
        {"path": path, "chunk_id": chunk, "quote": f"secret {chunk}", "heading_path": ["H"], "marker": 1}
        for path, chunk, is_cited in parts
        if is_cited
    ]
    answer = {
        "text": "It is secret.",
        "abstained": not citations,
        "citations": citations,
        "sentences": [{"text": "It is secret.", "markers": [1]}],
    }
    return replace(interaction(number), passages=passages, answer=answer, **fields)


async def ids(log: InteractionLog, **fields: Any) -> list[str]:
    return [one.id for one in await log.page(InteractionFilter(**fields))]


async def test_a_page_holds_what_passes_the_filter(log: InteractionLog) -> None:
    await log.append(answered(1, ("a", "a1", True), ("b", "b1", False), created_at=10.0, commit_id="c1", release_id="r1"))
    await log.append(answered(2, ("a", "a2", True), created_at=20.0, commit_id="c2", release_id="r1"))
    assert await ids(log, since=15.0) == ["i2"]  # and what comes later is found too
    await log.append(answered(3, ("b", "b1", False), created_at=30.0, commit_id="c2", release_id="r2", collection="other"))
    await log.append(answered(4, ("b", "b1", True), ("b", "b2", True), created_at=40.0, commit_id="c2", release_id="r2"))
    await log.add_feedback("i1", Feedback(thumb=1, tags=("x", "x")))
    await log.add_feedback("i1", Feedback(thumb=1))
    await log.add_feedback("i4", Feedback(thumb=-1, tags=("x", "y")))
    assert await ids(log) == ["i4", "i3", "i2", "i1"]
    assert await ids(log, since=20.0, until=40.0) == ["i3", "i2"]
    assert await ids(log, abstained=True) == ["i3"]
    assert await ids(log, abstained=False, collection="docs") == ["i4", "i2", "i1"]
    assert await ids(log, commit_id="c2", release_id="r2") == ["i4", "i3"]
    assert (await ids(log, thumb=1), await ids(log, thumb=-1), await ids(log, tag="x"), await ids(log, tag="y")) == (
        ["i1"],
        ["i4"],
        ["i4", "i1"],
        ["i4"],
    )
    assert await ids(log, path="b") == ["i4", "i3", "i1"]
    assert await ids(log, path="b", collection="other") == ["i3"]
    assert await ids(log, chunks=frozenset({"b1", "a2", "absent"})) == ["i4", "i2"]
    assert await ids(log, chunks=frozenset()) == await ids(log, path="absent") == []
    [second] = await log.page(InteractionFilter(commit_id="c2"), before="i4", limit=1)
    assert second.id == "i3"
    assert [one.id for one in await log.page(InteractionFilter(commit_id="c2"), before="i3")] == ["i2"]


async def test_cited_chunks_are_told_once(log: InteractionLog) -> None:
    for number in range(3):
        await log.append(answered(number, ("b", "b2", True), ("a", "a1", True), ("a", "a2", False), ("b", "b1", number == 1)))
    await log.append(answered(9, ("a", "a9", True), collection="other"))
    assert await log.cited("docs", ["b", "a", "absent"]) == [CitedChunk("a", "a1"), CitedChunk("b", "b1"), CitedChunk("b", "b2")]
    assert await log.cited("docs", {"b"}) == [CitedChunk("b", "b1"), CitedChunk("b", "b2")]
    assert await log.cited("docs", []) == await log.cited("absent", ["a"]) == []


async def test_old_interactions_are_deleted_with_their_feedback(log: InteractionLog) -> None:
    for number in range(250):
        await log.append(answered(number, ("a", f"c{number}", True), created_at=float(number)))
    await log.add_feedback("i3", Feedback(thumb=1, tags=("x",)))
    assert await log.delete_before(0.0) == 0
    assert await log.delete_before(230.0) == 230
    assert await ids(log, path="a") == [f"i{number}" for number in range(249, 229, -1)]
    assert await ids(log, thumb=1) == await ids(log, tag="x") == []
    assert len(await log.cited("docs", ["a"])) == 20
    with pytest.raises(NotFound):
        await log.get("i3")
    assert await log.delete_before(230.0) == 0
    assert await log.delete_before(1e9) == 20
    await log.append(answered(1, ("a", "a1", True)))
    assert await ids(log, path="a") == ["i1"]


async def test_erasing_a_document_takes_its_texts_out(log: InteractionLog) -> None:
    for number in range(130):
        await log.append(answered(number, ("a", f"a{number}", True), ("b", f"b{number}", True)))
    await log.append(answered(200, ("b", "b0", True)))
    await log.append(answered(201, ("a", "a0", False), collection="other"))
    await log.add_feedback("i7", Feedback(thumb=1))
    kept = [await log.get("i200"), await log.get("i201")]
    assert await log.erase("docs", "a") == 130
    assert [await log.get("i200"), await log.get("i201")] == kept
    blank = await log.get("i7")
    [of_a, of_b] = blank.passages
    assert (of_a["text"], of_a["title"], of_a["heading_path"], of_a["metadata"]) == (PURGED, PURGED, [], {})
    assert (of_b["text"], of_a["score"], of_a["chunk_id"]) == ("secret b7", 0.5, "a7")
    assert (blank.answer["text"], blank.answer["sentences"][0]["text"], blank.purged) == (PURGED, PURGED, True)
    assert [citation["quote"] for citation in blank.answer["citations"]] == [PURGED, "secret b7"]
    assert (blank.question, len(blank.feedback)) == (interaction(7).question, 1)
    assert await log.erase("docs", "a") == await log.erase("docs", "absent") == 0
    assert await ids(log, path="a", collection="other") == ["i201"]


async def test_nothing_is_deferred_when_all_is_stored(log: InteractionLog) -> None:
    assert await log.append(interaction(1)) == "stored"
    assert await log.deferred() == 0
