"""Which logged answers a change of the documents makes out of date."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ragstone.domain.errors import Gone, NotFound
from ragstone.domain.interactions import Interaction, InteractionFilter
from ragstone.domain.jobs import Delete
from ragstone.domain.redaction import Redaction
from ragstone.domain.retention import Keep
from ragstone.domain.retrieval import RetrievalSettings
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases import retention
from ragstone.use_cases.answer import AnswerSettings
from ragstone.use_cases.impact import ImpactPage
from ragstone.use_cases.query import Question
from tests.support.world import World, embedded_world, fake_world

BOTH = pytest.mark.parametrize("world", [fake_world, embedded_world], indirect=True)
LONG = " and so on" * 60  # a paragraph of this length is a passage of its own
LEAVES, TICKET, DOGS = (
    text + LONG for text in ("The ferry leaves at nine from the harbour", "A bicycle ticket costs four crowns", "Dogs travel for free")
)
FERRY = f"{LEAVES}\n\n{TICKET}\n\n{DOGS}"


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(retention, "GRACE", 0.0)
    world: World = await getattr(request, "param", fake_world)(tmp_path)
    await world.platform.collections.create("docs")
    await ingest(world, ferry=FERRY, map="The harbour map hangs in the hall.")
    yield world
    await world.end(world.platform)


async def ingest(world: World, **texts: str) -> None:
    uploads = tuple(Upload(f"{name}.txt", text.encode(), "text/plain") for name, text in texts.items())
    job = await world.platform.ingest.submit("docs", IngestRequest(uploads))
    assert (await world.platform.ingest.wait(job.id, 20)).state == "published"


async def delete(world: World, path: str) -> None:
    job = await world.platform.ingest.submit_change("docs", Delete(path), "gone")
    assert (await world.platform.ingest.wait(job.id, 20)).state == "published"


async def ask(world: World, text: str, as_of: str | None = None) -> Interaction:
    """Answered from, and citing, the best passage alone."""
    done = await world.platform.query.run(
        Question("docs", text, as_of=as_of, retrieval=RetrievalSettings(top_k=1), answer=AnswerSettings(abstain=False))
    )
    assert len(done.interaction.answer["citations"]) == 1, done.interaction.answer
    return done.interaction


def found(page: ImpactPage) -> list[str]:
    return [answer.interaction.id for answer in page.answers]


@BOTH
async def test_answers_that_cite_what_changed_or_went_are_found_with_old_and_new_text(world: World) -> None:
    ticket = await ask(world, "What does a bicycle ticket cost?")
    dogs = await ask(world, "Do dogs travel for free?")
    hall = await ask(world, "Where hangs the harbour map?")
    await ingest(world, ferry=FERRY.replace("four crowns", "nine crowns"), new="Something else.")
    await delete(world, "map.txt")
    page = await world.platform.impact.run("docs", "#1", "head")
    assert (page.before.position, page.after.position, page.documents, page.next) == (1, 3, 2, None)
    assert found(page) == [hall.id, ticket.id]
    [of_hall], [of_ticket] = (answer.citations for answer in page.answers)
    assert (of_hall.document, of_hall.old_text, of_hall.new_text) == ("removed", "The harbour map hangs in the hall.", None)
    assert (of_ticket.document, of_ticket.old_text, of_ticket.new_text) == (
        "changed",
        TICKET,
        TICKET.replace("four", "nine"),
    )
    assert of_ticket.citation["path"] == "ferry.txt"
    assert found(await world.platform.impact.run("docs", "#1", "#2")) == [ticket.id]
    assert found(await world.platform.impact.run("docs", "#2", "#3")) == [hall.id]
    assert found(await world.platform.impact.run("docs", "#1", "#1")) == []
    assert dogs.id not in found(page)


async def test_pages_go_on_where_the_one_before_ended(world: World) -> None:
    asked = [await ask(world, "What does a bicycle ticket cost?") for _ in range(5)]
    await delete(world, "ferry.txt")
    first = await world.platform.impact.run("docs", "#1", "head", limit=2)
    second = await world.platform.impact.run("docs", "#1", "head", older_than=first.next, limit=3)
    assert (found(first) + found(second), second.next) == ([one.id for one in reversed(asked)], None)


async def test_what_only_moved_is_the_same_passage(world: World) -> None:
    ticket = await ask(world, "What does a bicycle ticket cost?")
    await ingest(world, ferry=f"A new first paragraph{LONG}\n\n{FERRY}")
    moved = await ask(world, "What does a bicycle ticket cost?")
    assert moved.passages[0]["chunk_id"] != ticket.passages[0]["chunk_id"]
    assert found(await world.platform.impact.run("docs", "#1", "#2")) == []
    await delete(world, "ferry.txt")
    assert found(await world.platform.impact.run("docs", "#1", "#3")) == [moved.id, ticket.id]
    assert found(await world.platform.impact.run("docs", "#2", "#3")) == [moved.id, ticket.id]


async def test_an_answer_from_content_that_came_back_later_is_not_affected(world: World) -> None:
    before = await ask(world, "What does a bicycle ticket cost?")
    await ingest(world, ferry="No bicycles any more.")
    job = await world.platform.history.rollback("docs", "#1")
    await world.platform.ingest.wait(job.id, 20)
    after = await ask(world, "What does a bicycle ticket cost?")
    past = await ask(world, "What does a bicycle ticket cost?", as_of="#1")
    page = await world.platform.impact.run("docs", "#1", "#2")
    assert found(page) == [past.id, before.id]
    assert after.id not in found(page)
    assert found(await world.platform.impact.run("docs", "#1", "#3")) == []
    assert found(await world.platform.impact.run("docs", "#3", "#2")) == [past.id, after.id, before.id]


async def test_a_cited_point_that_was_pruned_is_known_by_its_logged_text(world: World) -> None:
    ticket = await ask(world, "What does a bicycle ticket cost?")
    await ingest(world, ferry=f"A new first paragraph{LONG}\n\n{FERRY}")
    await delete(world, "ferry.txt")
    await world.platform.history.tag("docs", "moved", "#2")
    await world.platform.retention.prune("docs", Keep(last=1))
    assert found(await world.platform.impact.run("docs", "#2", "#3")) == [ticket.id]
    with pytest.raises(Gone):
        await world.platform.impact.run("docs", "#1", "#3")


async def test_texts_that_were_not_kept_are_none(world: World) -> None:
    asked = await ask(world, "What does a bicycle ticket cost?")
    await world.platform.interactions.append(Redaction({"passages": "drop"}).interaction(replace(asked, id="hidden")))
    await delete(world, "ferry.txt")
    page = await world.platform.impact.run("docs", "#1", "head", limit=1)
    assert (found(page), page.answers[0].citations[0].old_text) == (["hidden"], None)


async def test_a_change_that_nobody_cites_costs_no_look_at_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await ask(world, "Where hangs the harbour map?")
    await delete(world, "ferry.txt")

    async def page(filter: InteractionFilter, **_: object) -> list[Interaction]:
        raise AssertionError("looked at answers")

    monkeypatch.setattr(world.platform.interactions, "page", page)
    assert found(await world.platform.impact.run("docs", "#1", "head")) == []


async def test_unknown_commits_and_collections_are_refused(world: World) -> None:
    for name, before, after in (("docs", "#1", "#9"), ("docs", "nope", "#1"), ("absent", "#1", "#1")):
        with pytest.raises(NotFound):
            await world.platform.impact.run(name, before, after)
