"""Replaying logged answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragstone.domain.errors import Conflict, Gone, NotFound
from ragstone.domain.filters import Equals, Exists, Filter, Not, OneOf, PathPrefix, Range
from ragstone.domain.interactions import Interaction, InteractionFilter
from ragstone.domain.jobs import Delete
from ragstone.domain.redaction import Redaction
from ragstone.domain.retention import Keep
from ragstone.domain.retrieval import RetrievalSettings
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases import retention
from ragstone.use_cases.answer import AnswerSettings
from ragstone.use_cases.query import Question
from tests.fakes.generator import ScriptedGenerator
from tests.support.world import World, embedded_world, fake_world

ASKED = Question("docs", "Number of alpha?", retrieval=RetrievalSettings(top_k=3, neighbours=1), answer=AnswerSettings(max_sentences=1))
FILTERS = (
    Equals("team", "ops"),
    OneOf("year", (2025, 2026)),
    Range("year", gte=2025),
    Exists("team"),
    Not(Equals("team", "sales")),
    PathPrefix("a"),
)


BOTH = pytest.mark.parametrize("world", [fake_world, embedded_world], indirect=True)


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(retention, "GRACE", 0.0)
    world: World = await getattr(request, "param", fake_world)(tmp_path)
    await world.platform.collections.create("docs")
    await ingest(world, a="Alpha one.\n\nIt is number one.", b="Beta one.", c="Gamma.")
    yield world
    await world.end(world.platform)


async def ingest(world: World, **texts: str) -> None:
    uploads = tuple(
        Upload(f"{name}.txt", text.encode(), "text/plain", metadata={"team": "ops", "year": 2026}) for name, text in texts.items()
    )
    job = await world.platform.ingest.submit("docs", IngestRequest(uploads))
    assert (await world.platform.ingest.wait(job.id, 20)).state == "published"


async def ask(world: World, **changes: Any) -> Interaction:
    return (await world.platform.query.run(replace(ASKED, **changes))).interaction


@BOTH
async def test_a_replay_has_the_same_passages_whatever_came_after(world: World) -> None:
    asked = await ask(world)
    await ingest(world, a="Alpha two.\n\nIt is number two.", d="Number of alpha.")
    await ingest(world, b="Alpha alpha alpha.")
    replayed = await world.platform.replay.run(asked.id)
    assert (replayed.passages_identical, replayed.compared, replayed.retrieval_identical) == (True, "text", True)
    assert replayed.after == replayed.before == asked.answer
    assert (replayed.diff, replayed.citations_added, replayed.citations_removed) == ("", (), ())
    assert replayed.done.release.id == asked.release_id
    again = await world.platform.interactions.get(replayed.done.interaction.id)
    assert (again.request["replay_of"], again.commit_id, again.seq, again.question) == (
        asked.id,
        asked.commit_id,
        asked.seq,
        asked.question,
    )
    assert {**again.request, "replay_of": None} == {**(await world.platform.interactions.get(asked.id)).request, "replay_of": None}
    twice = await world.platform.replay.run(again.id)
    assert (twice.passages_identical, twice.done.release.id) == (True, asked.release_id)


async def test_settings_and_filter_of_then_are_used(world: World) -> None:
    asked = await ask(world, filter=Filter(FILTERS), as_of="#1", retrieval=RetrievalSettings(top_k=2, fusion="bm25"))
    await ingest(world, a="Alpha two.")
    replayed = await world.platform.replay.run(asked.id)
    assert (replayed.passages_identical, replayed.retrieval_identical) == (True, True)
    assert {passage["path"] for passage in asked.passages} == {"a.txt"}
    assert replayed.done.release.id == asked.release_id
    assert replayed.done.interaction.request["filter"]["conditions"] == asked.request["filter"]["conditions"]


async def test_another_answer_is_shown_beside_the_old_one(world: World) -> None:
    asked = await ask(world)
    generator = ScriptedGenerator(["It is number one [2]. ", "Nobody knows more."], name="other")
    platform = world.platform
    answering = platform.replay._answering
    answering._generator = generator
    replayed = await platform.replay.run(asked.id)
    assert replayed.passages_identical
    assert replayed.diff is not None
    assert "-It is number one." in replayed.diff.splitlines()
    assert "+Nobody knows more." in replayed.diff.splitlines()
    assert [one["marker"] for one in replayed.citations_added] == [2]
    assert len(replayed.citations_removed) == len(asked.answer["citations"])
    assert replayed.done.release.id != asked.release_id
    [request] = generator.requests
    assert ([passage.chunk.id for passage in request.passages], request.max_sentences) == (
        [passage["chunk_id"] for passage in asked.passages],
        1,
    )


async def test_what_is_not_there_any_more_can_not_be_replayed(world: World) -> None:
    with pytest.raises(NotFound):
        await world.platform.replay.run("absent")
    pruned, purged = await ask(world), await ask(world, text="What is gamma?")
    await world.platform.history.tag("docs", "kept", "#1")
    await ingest(world, b="Beta two.")
    await world.platform.erasure.purge("docs", "c.txt")
    with pytest.raises(Gone, match="A document that the answer was made from was purged"):
        await world.platform.replay.run(purged.id)
    await world.platform.history.untag("docs", "kept")
    await world.platform.retention.prune("docs", Keep(last=1))
    count = len(await world.platform.interactions.page(InteractionFilter()))
    for gone in (pruned, purged):
        with pytest.raises(Gone):
            await world.platform.replay.run(gone.id)
    await world.platform.collections.delete("docs")
    with pytest.raises(Gone):
        await world.platform.replay.run(pruned.id)
    assert len(await world.platform.interactions.page(InteractionFilter())) == count


async def test_a_collection_of_the_same_name_is_another_one(world: World) -> None:
    asked = await ask(world)
    await world.platform.collections.delete("docs")
    await world.platform.collections.create("docs")
    await ingest(world, z="Zeta.")
    with pytest.raises(Gone):
        await world.platform.replay.run(asked.id)


async def test_a_passage_deleted_since_is_still_that_of_the_old_commit(world: World) -> None:
    asked = await ask(world)
    job = await world.platform.ingest.submit_change("docs", Delete("a.txt"), "gone")
    await world.platform.ingest.wait(job.id, 20)
    assert (await world.platform.replay.run(asked.id)).passages_identical


async def test_redacted_interactions_are_replayed_as_far_as_they_can_be(world: World) -> None:
    asked = await ask(world, filter=Filter((Equals("team", "ops"),)))
    rules = Redaction({"answer": "drop", "passages": "hash", "metadata.team": "drop", "principal": "drop"}, b"0123456789abcdef")
    await world.platform.interactions.append(rules.interaction(replace(asked, id="hidden")))
    replayed = await world.platform.replay.run("hidden")
    assert (replayed.passages_identical, replayed.compared, replayed.diff) == (True, "id", None)
    assert (replayed.retrieval_identical, replayed.retrieval_note) == (False, "the filter's values of team were not kept")
    await world.platform.interactions.append(Redaction({"question": "drop"}).interaction(replace(asked, id="silent")))
    with pytest.raises(Conflict, match="not kept"):
        await world.platform.replay.run("silent")
    await world.platform.interactions.append(replace(asked, id="old", request={**asked.request, "answer": {"prompt": "gone/1"}}))
    with pytest.raises(Conflict, match="prompt"):
        await world.platform.replay.run("old")


async def test_a_passage_that_reads_otherwise_is_told(world: World) -> None:
    """It can't happen while the index is whole; a replay that could not see it would prove nothing."""
    asked = await ask(world)
    first = {**asked.passages[0], "text": "Something else."}
    await world.platform.interactions.append(replace(asked, id="other", passages=(first, *asked.passages[1:])))
    replayed = await world.platform.replay.run("other")
    assert (replayed.passages_identical, replayed.differing) == (False, (first["chunk_id"],))


async def test_a_passage_of_another_commit_is_refused(world: World) -> None:
    asked = await ask(world)
    await ingest(world, a="Alpha two.")
    later = await ask(world)
    await world.platform.interactions.append(replace(asked, id="mixed", passages=later.passages))
    with pytest.raises(Gone):
        await world.platform.replay.run("mixed")
