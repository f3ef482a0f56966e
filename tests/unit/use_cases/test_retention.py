"""Pruning and erasure, over the fakes and over the embedded adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from ragstone.domain.commits import OPEN
from ragstone.domain.errors import Gone, InvalidInput, NotFound, Unavailable
from ragstone.domain.jobs import Job
from ragstone.domain.retention import Keep, Purge
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases import retention
from ragstone.use_cases.query import Question
from tests.support.world import World, embedded_world, fake_world

CANARY = "Quetzalcoatlus sleeps in the attic."


@pytest.fixture(params=[fake_world, embedded_world])
async def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(retention, "GRACE", 0.0)
    world: World = await request.param(tmp_path)
    await world.platform.collections.create("docs")
    yield world
    await world.end(world.platform)


async def ingest(world: World, **texts: str) -> Job:
    uploads = tuple(Upload(f"{name}.txt", text.encode(), "text/plain") for name, text in texts.items())
    job = await world.platform.ingest.submit("docs", IngestRequest(uploads))
    return await finished(world, job)


async def finished(world: World, job: Job) -> Job:
    job = await world.platform.ingest.wait(job.id, 20)
    assert job.state == "published", job
    return job


async def points(world: World) -> int:
    index = (await world.platform.collections.get("docs")).index_name((await world.platform.collections.get("docs")).space_id)
    return await world.platform.adapters.index.count_range(index, -1, OPEN, frozenset())


async def texts(world: World, as_of: str) -> list[str]:
    _, page = await world.platform.documents.page("docs", as_of=as_of)
    chunks = [(await world.platform.documents.chunks("docs", info.path, as_of=as_of))[1] for info in page]
    return [chunk.text for each in chunks for chunk in each]


async def test_pruning_frees_what_only_old_commits_need(world: World) -> None:
    for number in range(6):
        await ingest(world, a=f"Number {number}.", b="The same.")
    before = {f"#{position}": await texts(world, f"#{position}") for position in (5, 6)}
    assert await points(world) == 7
    planned = await world.platform.retention.prune("docs", Keep(last=2), dry_run=True)
    assert (len(planned.pruning.pruned), planned.points, await points(world)) == (4, 4, 7)
    done = await world.platform.retention.prune("docs", Keep(last=2))
    assert (done.points, await points(world)) == (4, 3)
    assert {place: await texts(world, place) for place in before} == before
    with pytest.raises(Gone):
        await world.platform.documents.page("docs", as_of="#2")
    with pytest.raises(Gone):
        await world.platform.history.show("docs", "#2")
    with pytest.raises(Gone):
        await world.platform.query.search(Question("docs", "Which number?", as_of="#1"))
    with pytest.raises(Gone, match="before #5"):
        await world.platform.history.show("docs", "#5")
    with pytest.raises(Gone):
        await world.platform.history.rollback("docs", "#2")
    again = await world.platform.retention.prune("docs", Keep(last=2))
    assert (again.pruning.pruned, again.points) == ((), 0)
    await ingest(world, a="Number 7.")
    assert (await texts(world, "head"))[0] == "Number 7."


async def test_a_tagged_commit_stays_whole(world: World) -> None:
    for number in range(5):
        await ingest(world, a=f"Number {number}.")
        if number == 1:
            await world.platform.history.tag("docs", "v1", "head")
    await world.platform.retention.prune("docs", Keep(last=1))
    assert await texts(world, "v1") == ["Number 1."]
    assert await texts(world, "head") == ["Number 4."]
    assert await points(world) == 2
    await finished(world, await world.platform.history.rollback("docs", "v1"))
    assert await texts(world, "head") == ["Number 1."]


async def test_a_prune_that_was_cut_short_is_finished_by_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        await ingest(world, a=f"Number {number}.")

    async def down(repo: str, kept: object, since: str | None = None) -> int:
        raise Unavailable("not now")

    monkeypatch.setattr(world.platform.adapters.versions, "collect", down)
    with pytest.raises(Unavailable):
        await world.platform.retention.prune("docs", Keep(last=1))
    monkeypatch.undo()
    with pytest.raises(Gone):
        await world.platform.documents.get("docs", "a.txt", as_of="#1")
    assert (await world.platform.retention.prune("docs", Keep(last=1))).pruning.pruned == ()
    assert await points(world) == 1
    assert await texts(world, "head") == ["Number 3."]


async def test_readers_of_a_head_that_is_pruned_meanwhile_are_given_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await ingest(world, a="Number 0.")
    searched = asyncio.Event()
    go_on = asyncio.Event()
    find = world.platform.search.find

    async def slow(*arguments: object, **options: object) -> object:
        found = await find(*arguments, **options)  # type: ignore[arg-type]  # passed on as they came
        if not searched.is_set():
            searched.set()
            await go_on.wait()
        return found

    monkeypatch.setattr(type(world.platform.search), "find", lambda _, *arguments, **options: slow(*arguments, **options))
    asked = asyncio.create_task(world.platform.query.search(Question("docs", "Which number?")))
    await searched.wait()
    await ingest(world, a="Number 1.")
    await world.platform.retention.prune("docs", Keep(last=1))
    go_on.set()
    found = await asked
    assert (found.snapshot.position, found.passages[0].chunk.text) == (2, "Number 1.")


async def test_nothing_to_keep_is_refused(world: World) -> None:
    for keep in (Keep(), Keep(last=0)):
        with pytest.raises(InvalidInput):
            await world.platform.retention.prune("docs", keep)


async def test_a_purged_document_is_in_no_commit_index_or_answer(world: World) -> None:
    await ingest(world, a=CANARY, b="Nothing to see.")
    await ingest(world, a=f"{CANARY} Still.", c=CANARY)
    asked = await world.platform.query.run(Question("docs", "Who sleeps in the attic?"))
    assert CANARY in asked.answer.text or any(CANARY in passage.chunk.text for passage in asked.passages)
    ids = [commit.id for commit in await world.platform.history.log("docs")]
    record = await world.platform.erasure.purge("docs", "a.txt", principal="ada", reason="a letter")
    assert (record.state, record.seq, record.commits, record.points, record.interactions) == ("done", 3, 2, 2, 1)
    assert await world.platform.erasure.purges("docs") == [record]
    for as_of in ("#1", "#2"):
        with pytest.raises(Gone, match="purged"):
            await world.platform.documents.get("docs", "a.txt", as_of=as_of)
        with pytest.raises(Gone, match="purged"):
            await world.platform.documents.chunks("docs", "a.txt", as_of=as_of)
    assert await texts(world, "#1") == ["Nothing to see."]
    assert await texts(world, "#2") == ["Nothing to see.", CANARY]
    assert [commit.id for commit in await world.platform.history.log("docs")][1:] == ids
    logged = await world.platform.interactions.get(asked.interaction.id)
    assert logged.purged
    assert not any(CANARY in str(passage) for passage in logged.passages if passage["path"] == "a.txt")
    await ingest(world, a="Something else.")
    assert await texts(world, "head") == ["Something else.", "Nothing to see.", CANARY]
    with pytest.raises(Gone):
        await world.platform.documents.get("docs", "a.txt", as_of="#2")


async def test_what_else_has_the_same_bytes_is_told(world: World) -> None:
    await ingest(world, a=CANARY, b=CANARY, c="Another.")
    assert (await world.platform.erasure.purge("docs", "a.txt")).same_content == ("b.txt",)


async def test_an_unknown_document_is_not_purged(world: World) -> None:
    await ingest(world, a=CANARY)
    with pytest.raises(NotFound):
        await world.platform.erasure.purge("docs", "b.txt")
    assert await world.platform.erasure.purges("docs") == []


async def test_a_purge_that_was_cut_short_is_finished_at_the_next_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await ingest(world, a=CANARY, b="Nothing to see.")

    async def down(repo: str, path: str, commits: object) -> int:
        raise Unavailable("not now")

    monkeypatch.setattr(world.platform.adapters.versions, "forget", down)
    with pytest.raises(Unavailable):
        await world.platform.erasure.purge("docs", "a.txt")
    monkeypatch.undo()
    assert [record.state for record in await world.platform.erasure.purges("docs")] == ["begun"]
    world.platform = (await world.reopen()).platform
    await world.platform.maintenance.idle()
    assert [record.state for record in await world.platform.erasure.purges("docs")] == ["done"]
    with pytest.raises(Gone):
        await world.platform.documents.get("docs", "a.txt", as_of="#1")


async def test_an_answer_that_was_read_before_the_purge_is_not_logged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await ingest(world, a=CANARY)
    asking = world.platform.query.stream(Question("docs", "Who sleeps in the attic?"))
    await anext(asking)
    await world.platform.erasure.purge("docs", "a.txt")
    with pytest.raises(Gone, match="while it was read"):
        async for _ in asking:
            pass


async def test_a_rollback_does_not_bring_a_purged_document_back(world: World) -> None:
    await ingest(world, a=CANARY, b="Nothing to see.")
    await ingest(world, b="Still nothing.")
    await world.platform.erasure.purge("docs", "a.txt")
    await finished(world, await world.platform.history.rollback("docs", "#1"))
    assert await texts(world, "head") == ["Nothing to see."]
    assert await points(world) == 3


async def test_a_rollback_that_races_with_a_purge_is_erased_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await ingest(world, a=CANARY, b="Nothing to see.")
    catalog = world.platform.adapters.catalog
    begin = catalog.begin_purge
    raced = False

    async def late(record: Purge) -> Purge:
        nonlocal raced
        if not raced:  # the deletion is published, the purge is not begun yet
            raced = True
            await finished(world, await world.platform.history.rollback("docs", "#1"))
        return await begin(record)

    monkeypatch.setattr(catalog, "begin_purge", late)
    record = await world.platform.erasure.purge("docs", "a.txt")
    assert (record.seq, record.commits) == (4, 2)
    assert await texts(world, "head") == ["Nothing to see."]
    with pytest.raises(Gone):
        await world.platform.documents.get("docs", "a.txt", as_of="#3")


@pytest.mark.parametrize("erases", ["prune", "purge"])
async def test_commits_published_while_it_is_at_work_keep_their_documents(
    world: World, monkeypatch: pytest.MonkeyPatch, erases: str
) -> None:
    versions = world.platform.adapters.versions
    collect = versions.collect
    for number in range(4):
        await ingest(world, a=f"Number {number}.", gone=f"Gone {number}.")

    async def busy(repo: str, kept: Collection[str], *, since: str | None = None) -> int:
        for number in range(4, 7):
            await ingest(world, a=f"Number {number}.", b=f"New {number}.")
        return await collect(repo, kept, since=since)

    monkeypatch.setattr(versions, "collect", busy)
    if erases == "prune":
        await world.platform.retention.prune("docs", Keep(last=1))
    else:
        await world.platform.erasure.purge("docs", "gone.txt")
    newest = (await world.platform.history.log("docs"))[:3]
    assert [(await texts(world, commit.id))[0] for commit in newest] == ["Number 6.", "Number 5.", "Number 4."]


async def test_what_an_ended_attempt_brought_goes_with_the_document(world: World) -> None:
    await ingest(world, a=CANARY, b="Nothing to see.")
    platform = world.platform
    collection = await platform.collections.get("docs")
    same = await platform.ingest.submit("docs", IngestRequest((Upload("b.txt", b"Nothing to see.", "text/plain"),)))
    assert (await platform.ingest.wait(same.id, 20)).state == "unchanged"  # attempt 2, which leaves no branch
    _, document = await platform.documents.get("docs", "a.txt")
    again = replace(document, content=CANARY.encode() + b" Again.")
    await platform.adapters.versions.stage(collection.uid, 2, None, [again], [], author="x", message="", metadata={})
    await platform.erasure.purge("docs", "a.txt")
    assert await platform.adapters.versions.attempts(collection.uid) == []
