"""Spaces: built beside the live one, switched to, switched back, given up and dropped; over the fakes and over the embedded adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from ragstone.domain.builds import SpaceStatus
from ragstone.domain.commits import OPEN, Commit
from ragstone.domain.errors import Busy, Conflict, Gone, InvalidInput, NotFound, Unavailable
from ragstone.domain.ids import new_id
from ragstone.domain.jobs import ChangeRequest, Delete, Job, Put
from ragstone.domain.retention import Keep
from ragstone.domain.retrieval import Point
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases import space_filler
from ragstone.use_cases.query import Question
from ragstone.use_cases.turns import Turns
from tests.support.world import World, embedded_world, fake_world


@pytest.fixture(params=[fake_world, embedded_world])
async def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("ragstone.use_cases.platform.GRACE", 0.0)
    monkeypatch.setattr(space_filler, "_DOCUMENTS", 2)
    world: World = await request.param(tmp_path)
    await world.platform.collections.create("docs")
    await world.platform.builder.stop()  # each test takes the steps itself
    await ingest(world, a="Alpha ferry.", b="Beta lamp.", c="Gamma ship.", d="Delta quay.", e="Beta lamp.")
    yield world
    await world.end(world.platform)


async def ingest(world: World, *deletes: str, **texts: str) -> Job:
    uploads = tuple(Upload(f"{name}.txt", text.encode(), "text/plain") for name, text in texts.items())
    job = await world.platform.ingest.submit("docs", IngestRequest(uploads, deletes=tuple(Delete(f"{name}.txt") for name in deletes)))
    return await finished(world, job)


async def finished(world: World, job: Job) -> Job:
    job = await world.platform.ingest.wait(job.id, 20)
    assert job.state in ("published", "unchanged"), job
    return job


async def start(world: World) -> SpaceStatus:
    return await world.platform.reembedding.start("docs", model=world.other.identity.digest)


async def built(world: World) -> str:
    """The id of a space that is ready."""
    status = await start(world)
    while await world.platform.builder.tend():
        pass
    return status.space.id


async def switched(world: World, space_id: str | None = None) -> Job:
    return await finished(world, await world.platform.reembedding.switch("docs", space_id))


async def head(world: World) -> Commit:
    commit = await world.platform.adapters.catalog.head("docs")
    assert commit is not None
    return commit


async def states(world: World) -> dict[str, str]:
    return {status.space.model.revision: status.state for status in await world.platform.reembedding.status("docs")}


async def shown(world: World, as_of: str | None = None) -> dict[str, str]:
    """Texts by path, as the chunks of a snapshot's own space have them."""
    snapshots, index = world.platform.snapshots, world.platform.adapters.index
    collection, snapshot = await snapshots.resolve("docs", as_of)
    _, page = await world.platform.documents.page("docs", as_of=as_of)
    chunks = await index.visible(collection.index_name(snapshot.space_id), snapshot.seq, snapshot.gaps, [info.path for info in page])
    assert len(chunks) == await index.count_visible(collection.index_name(snapshot.space_id), snapshot.seq, snapshot.gaps)
    return {chunk.path[0]: chunk.text for chunk in chunks}


async def test_reads_move_to_the_new_space_at_the_switch_and_not_before(world: World) -> None:
    before = await shown(world)
    await built(world)
    assert await states(world) == {"1": "live", "2": "ready"}
    queries = (world.embedder.queries, world.other.queries)
    await world.platform.query.search(Question("docs", "Where is the ferry?"))
    assert (world.embedder.queries, world.other.queries) == (queries[0] + 1, queries[1])
    job = await switched(world)
    assert job.result is not None
    assert (job.result.outcome, job.result.position, job.result.stats.documents, job.result.stats.chunks) == ("published", 2, 5, 5)
    await world.platform.query.search(Question("docs", "Where is the ferry?"))
    assert (world.embedder.queries, world.other.queries) == (queries[0] + 1, queries[1] + 1)
    assert await states(world) == {"2": "live", "1": "old"}
    assert before == await shown(world) == await shown(world, "#1") == await shown(world, "#2")
    found = await world.platform.query.search(Question("docs", "Where is the ferry?", as_of="#1"))
    assert found.passages[0].chunk.path == "a.txt"
    assert (world.embedder.queries, world.other.queries) == (queries[0] + 2, queries[1] + 1)
    assert (await switched(world, (await head(world)).space_id)).state == "unchanged"


async def test_whether_a_question_is_answerable_is_measured_with_the_model_of_its_space(world: World) -> None:
    await built(world)
    await switched(world)
    queries = world.other.queries
    await world.platform.query.run(Question("docs", "Where is the ferry?"))
    assert world.other.queries == queries + 2  # for the search, and for the sentences


async def test_the_same_documents_are_read_by_the_switchs_commit_and_nothing_is_told_to_have_changed(world: World) -> None:
    first = await head(world)
    await built(world)
    await switched(world)
    now = await head(world)
    assert (now.id, now.parent_id, now.position, now.seq > first.seq) == (first.id, first.id, 2, True)
    assert await world.platform.adapters.versions.main((await world.platform.collections.get("docs")).uid) == first.id
    shown_as = await world.platform.history.show("docs", "#2")
    assert (shown_as.after.position, shown_as.documents) == (2, ())
    assert (await ingest(world, a="Alpha again.")).result.position == 3  # type: ignore[union-attr]


async def test_every_chunk_is_embedded_once(world: World) -> None:
    await built(world)
    assert sorted(world.other.passages) == ["Alpha ferry.", "Beta lamp.", "Delta quay.", "Gamma ship."]
    assert sorted(world.embedder.passages) == ["Alpha ferry.", "Beta lamp.", "Delta quay.", "Gamma ship."]
    build = (await world.platform.collections.get("docs")).builds[0]
    assert (build.documents, build.chunks, build.embedded, build.reused) == (5, 5, 4, 1)
    await switched(world)
    await ingest(world, f="New text.")
    assert (world.other.passages[-1], world.embedder.passages[-1]) == ("New text.", "New text.")


async def test_ingests_between_batches_go_to_both_spaces(world: World) -> None:
    await start(world)
    steps = iter(({"a": "Alpha later."}, {"f": "New."}, {"e": "Epsilon."}, {"a": "Alpha last."}, {"g": "Last."}))
    while await world.platform.builder.tend():
        await ingest(world, **next(steps, {}) or {"z": "z"})
    await ingest(world, "c", b="Beta last.")
    expected = {"a": "Alpha later.", "b": "Beta last.", "d": "Delta quay.", "e": "Epsilon.", "f": "New."}
    before = await shown(world)
    assert {path: before[path] for path in expected if path != "a"} == {path: text for path, text in expected.items() if path != "a"}
    await switched(world)
    assert await shown(world) == before
    assert sorted(world.other.passages) == sorted(set(world.other.passages))
    await ingest(world, "b", d="Delta last.")
    assert (await shown(world))["d"] == "Delta last."
    assert "b" not in await shown(world)


async def test_what_is_changed_between_reading_and_writing_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await start(world)
    await world.platform.builder.tend()
    acquire, races = (
        world.platform.adapters.catalog.acquire_fill,
        [("b", {"a": "Changed."}), ("c", {"d": "Later."}), (None, {"e": "Epsilon."})],
    )

    async def late(*arguments: object) -> object:
        if races:
            gone, texts = races.pop(0)
            # Not through the platform, whose writers take turns: another process is faster.
            job = await world.platform.adapters.catalog.accept(await _queued(world, gone, texts))
            turns, world.platform.write_path._turns = world.platform.write_path._turns, Turns()
            await world.platform.write_path.run("docs", job.id)
            world.platform.write_path._turns = turns
        return await acquire(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(world.platform.adapters.catalog, "acquire_fill", late)
    while await world.platform.builder.tend():
        pass
    assert not races
    await switched(world)
    assert await shown(world) == {"a": "Changed.", "d": "Later.", "e": "Epsilon."}


async def _queued(world: World, gone: str | None, texts: dict[str, str]) -> Job:
    job_id = new_id()
    puts = []
    for name, text in texts.items():
        digest = await world.platform.adapters.staging.put(job_id, text.encode())
        puts.append(Put(f"{name}.txt", "text/plain", digest, len(text.encode())))
    changes = (*((Delete(f"{gone}.txt"),) if gone else ()), *puts)
    return Job(job_id, "docs", 0, ChangeRequest(changes), "local", "queued", 0.0)


async def test_a_build_goes_on_where_a_killed_process_left_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await start(world)
    await world.platform.builder.tend()  # the index
    await world.platform.builder.tend()  # a and b
    finish = world.platform.adapters.catalog.finish_fill

    async def killed(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(world.platform.adapters.catalog, "finish_fill", killed)
    with pytest.raises(asyncio.CancelledError):
        await world.platform.builder.tend()  # c and d are written, but nobody knows
    monkeypatch.setattr(world.platform.adapters.catalog, "finish_fill", finish)
    world.platform = (await world.reopen()).platform
    await world.platform.builder.stop()
    build = (await world.platform.collections.get("docs")).unfinished
    assert build is not None
    assert (build.after, build.documents) == ("b.txt", 2)
    assert (await world.platform.reembedding.start("docs", model=world.other.identity.digest)).build == build
    while await world.platform.builder.tend():
        pass
    await switched(world)
    assert sorted(await shown(world)) == ["a", "b", "c", "d", "e"]
    assert len(world.other.passages) - len(set(world.other.passages)) <= 2  # the killed batch
    report = await world.platform.doctor.run()
    assert report.findings == ()


async def test_what_was_embedded_waits_for_a_lease_that_is_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_filler, "_PATIENCE", 0.0)
    await start(world)
    await world.platform.builder.tend()
    acquire, refusals = world.platform.adapters.catalog.acquire_fill, [Busy("taken"), Unavailable("away"), Busy("taken")]

    async def late(*arguments: object) -> object:
        if refusals:
            raise refusals.pop()
        return await acquire(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(world.platform.adapters.catalog, "acquire_fill", late)
    for _ in range(3):
        assert not await world.platform.builder.tend()
    while await world.platform.builder.tend():
        pass
    assert sorted(world.other.passages) == sorted(set(world.other.passages))
    assert len(world.other.passages) == 4


async def test_giving_up_leaves_nothing_behind(world: World) -> None:
    index, catalog = world.platform.adapters.index, world.platform.adapters.catalog
    before = (await index.names(), await shown(world))
    await start(world)
    await world.platform.builder.tend()
    await world.platform.builder.tend()
    await ingest(world, f="Both.")
    assert len(await index.names()) == 2
    assert (await world.platform.reembedding.abort("docs")).state == "dropped"
    await ingest(world, "f")
    await world.platform.builder.tend()
    assert (await index.names(), await shown(world)) == before
    collection = await catalog.collection("docs")
    assert (collection.builds, [space.model.revision for space in collection.spaces]) == ((), ["1"])
    assert (await world.platform.doctor.run()).findings == ()
    with pytest.raises(NotFound):
        await world.platform.reembedding.abort("docs")
    await built(world)
    await switched(world)
    assert await shown(world) == before[1]


async def test_an_ingest_goes_on_without_a_space_that_is_given_up_under_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await start(world)
    await world.platform.builder.tend()
    index, written = world.platform.adapters.index, []
    insert = index.insert

    async def late(name: str, points: Sequence[Point]) -> None:
        written.append(name)
        if len(written) == 2:
            await world.platform.reembedding.abort("docs")
            await world.platform.builder.tend()
        await insert(name, points)

    monkeypatch.setattr(index, "insert", late)
    job = await ingest(world, f="New.")
    assert (job.state, len(set(written)), len(await index.names())) == ("published", 2, 1)
    assert (await shown(world))["f"] == "New."
    assert world.embedder.passages.count("New.") == 1


async def test_giving_up_what_is_being_prepared(world: World) -> None:
    await start(world)
    await world.platform.reembedding.abort("docs")
    await world.platform.builder.tend()
    assert (await world.platform.collections.get("docs")).builds == ()
    assert len(await world.platform.adapters.index.names()) == 1


async def test_an_old_space_stays_while_commits_need_it(world: World) -> None:
    old = (await head(world)).space_id
    await built(world)
    await switched(world)
    await ingest(world, a="Alpha later.")
    with pytest.raises(Conflict, match="1 commits"):
        await world.platform.reembedding.drop("docs", old)
    await world.platform.retention.prune("docs", Keep(last=1))
    await world.platform.reembedding.drop("docs", old)
    with pytest.raises(Gone):
        await shown(world, "#1")
    await world.platform.builder.tend()
    assert len(await world.platform.adapters.index.names()) == 1
    assert await states(world) == {"2": "live"}
    assert (await shown(world))["a"] == "Alpha later."
    embedded = len(world.embedder.passages)
    await ingest(world, a="Alpha last.")
    assert len(world.embedder.passages) == embedded
    assert (await world.platform.doctor.run()).findings == ()


async def test_an_old_space_can_be_dropped_when_its_time_is_over_though_commits_are_kept(world: World) -> None:
    old = (await head(world)).space_id
    await built(world)
    await switched(world)
    world.platform.reembedding._keep = 3_600.0
    with pytest.raises(Conflict, match=r"1 commits .* are kept .* UTC on it can be dropped all the same; prune them first"):
        await world.platform.reembedding.drop("docs", old)
    assert await states(world) == {"2": "live", "1": "old"}
    world.platform.reembedding._keep = 1e-9
    assert (await world.platform.reembedding.drop("docs", old)).state == "dropped"


async def test_a_space_that_kept_commits_need_can_be_dropped_by_force(world: World) -> None:
    old, index = (await head(world)).space_id, world.platform.adapters.index
    before = await shown(world)
    first = (await head(world)).id
    await ingest(world, "a", b="Beta later.")
    await world.platform.history.tag("docs", "v2", "#2")
    asked = await world.platform.query.run(Question("docs", "Where is the lamp?", as_of="#2"))
    await built(world)
    await switched(world)
    now = await shown(world)
    with pytest.raises(Conflict, match="are answered from"):
        await world.platform.reembedding.drop("docs", (await head(world)).space_id, force=True)
    await world.platform.reembedding.drop("docs", old, force=True)
    for moment in ("while its index is there", "when it is gone"):
        for reference in ("#1", "#2", first):
            with pytest.raises(Gone, match=rf"^Commit #[12] .* was read from embedding space {old}, which was dropped"):
                await world.platform.query.search(Question("docs", "Where is the ferry?", as_of=reference))
            with pytest.raises(Gone):
                await world.platform.documents.chunks("docs", "b.txt", as_of=reference)
        assert await shown(world, "v2") == now == await shown(world), moment  # a tag is on a commit id, which the switch published again
        with pytest.raises(Gone):
            await world.platform.history.diff("docs", "#1", "#2")
        with pytest.raises(Gone, match="embedding space of then was dropped"):
            await world.platform.replay.run(asked.interaction.id)
        _, page = await world.platform.documents.page("docs", as_of="#1")
        assert [info.path[0] for info in page] == sorted(before)
        assert (await world.platform.documents.get("docs", "a.txt", as_of="#1"))[1].extracted.text == "Alpha ferry."
        await world.platform.builder.tend()
    assert len(await index.names()) == 1
    assert (await world.platform.doctor.run()).findings == ()
    embedded = len(world.other.passages)
    await finished(world, await world.platform.history.rollback("docs", first))
    assert await shown(world) == before
    assert sorted(world.other.passages[embedded:]) == ["Alpha ferry."]  # "Beta lamp." was in it, of another document
    await world.platform.retention.prune("docs", Keep(last=1))
    assert (await world.platform.doctor.run()).findings == ()


async def test_what_was_read_from_a_dropped_space_is_not_read_from_one_that_is_built_again(world: World) -> None:
    await built(world)
    await ingest(world, "b", a="Alpha later.")
    first = (await head(world)).space_id
    await switched(world)
    second = (await head(world)).space_id
    await ingest(world, c="Gamma later.")
    expected = await shown(world)
    await switched(world, first)
    await world.platform.reembedding.drop("docs", second, force=True)
    await world.platform.builder.tend()
    await start(world)
    for _ in range(20):
        for reference in ("#3", "#4"):
            with pytest.raises(Gone):
                await shown(world, reference)
        if not await world.platform.builder.tend():
            break
    assert (await states(world))["2"] == "ready"
    with pytest.raises(Gone):
        await shown(world, "#4")
    job = await switched(world)
    assert job.result is not None
    assert (await head(world)).space_id == second
    assert await shown(world) == expected == await shown(world, "#5")
    assert (await world.platform.doctor.run()).findings == ()


async def test_switching_back_needs_no_build(world: World) -> None:
    old = (await head(world)).space_id
    await built(world)
    await switched(world)
    await ingest(world, "b", a="Alpha later.")
    expected = await shown(world)
    await switched(world, old)
    assert (await head(world)).space_id == old
    assert await shown(world) == expected
    assert await states(world) == {"1": "live", "2": "ready"}


async def test_a_rollback_past_the_switch_stays_in_the_new_space(world: World) -> None:
    await ingest(world, "a", b="Beta later.")
    await built(world)
    await switched(world)
    before = len(world.embedder.passages)
    job = await finished(world, await world.platform.history.rollback("docs", "#1"))
    assert (await head(world)).space_id != (await world.platform.adapters.catalog.commit_at_position("docs", 1)).space_id
    assert await shown(world) == await shown(world, "#1")
    assert (job.state, len(world.embedder.passages)) == ("published", before)


async def test_a_purge_takes_the_document_out_of_every_space(world: World) -> None:
    await start(world)
    await world.platform.builder.tend()
    await world.platform.builder.tend()
    await world.platform.erasure.purge("docs", "a.txt")
    while await world.platform.builder.tend():
        pass
    index = world.platform.adapters.index
    for name in await index.names():
        assert "a.txt" not in {point.chunk.path for point in await index.scan(name) if point.chunk}
    await switched(world)
    assert sorted(await shown(world)) == ["b", "c", "d", "e"]


async def test_a_purge_reaches_a_space_that_was_built_while_it_waited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = world.platform.ingest.submit_change

    async def late(*arguments: object, **named: object) -> Job:
        await built(world)
        return await submit(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(world.platform.ingest, "submit_change", late)
    await world.platform.erasure.purge("docs", "a.txt")
    monkeypatch.undo()
    index = world.platform.adapters.index
    assert len(await index.names()) == 2
    for name in await index.names():
        assert "a.txt" not in {point.chunk.path for point in await index.scan(name) if point.chunk}


async def test_groups_of_a_document_reach_a_space_that_was_built_while_they_were_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    change, ids = world.platform.adapters.acls.change, []

    async def late(*arguments: object) -> None:
        ids.append(await built(world))
        await change(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(world.platform.adapters.acls, "change", late)
    await world.platform.visibility.change("docs", {"a.txt": {"staff"}})
    collection, seq = await world.platform.collections.get("docs"), 1_000_000
    for space_id in (collection.space_id, *ids):
        name = collection.index_name(space_id)
        seen = {
            groups: await world.platform.adapters.index.count_visible(name, seq, frozenset(), groups=frozenset(groups))
            for groups in ((), ("staff",))
        }
        assert seen == {(): 4, ("staff",): 5}, space_id


async def test_the_doctor_mends_what_was_filled(world: World) -> None:
    await built(world)
    await switched(world)
    await ingest(world, a="Alpha later.")
    collection, index = await world.platform.collections.get("docs"), world.platform.adapters.index
    assert (await world.platform.doctor.run()).findings == ()
    for space in collection.spaces:
        await index.erase_path(collection.index_name(space.id), "c.txt", OPEN)
    report = await world.platform.doctor.run()
    assert {(finding.kind, finding.what.split()[0]) for finding in report.findings} == {("missing-points", "c.txt")}
    assert all(finding.repaired for finding in (await world.platform.doctor.run(repair=True)).findings)
    assert (await world.platform.doctor.run()).findings == ()
    assert (await shown(world))["c"] == "Gamma ship."


async def test_a_space_that_lacks_a_document_is_not_switched_to(world: World) -> None:
    space_id = await built(world)
    collection = await world.platform.collections.get("docs")
    await world.platform.adapters.index.erase_path(collection.index_name(space_id), "c.txt", OPEN)
    job = await world.platform.reembedding.switch("docs")
    job = await world.platform.ingest.wait(job.id, 20)
    assert job.result is not None
    assert (job.state, job.result.status, (await head(world)).position) == ("failed", 409, 1)
    assert "c.txt" in (job.result.error or "")


async def test_what_cannot_be_is_refused_and_changes_nothing(world: World) -> None:
    reembedding, catalog = world.platform.reembedding, world.platform.adapters.catalog
    before = await catalog.collection("docs")
    with pytest.raises(Conflict, match="already"):
        await reembedding.start("docs")
    for wrong in ({"model": "absent"}, {"max_tokens": 5}, {"max_tokens": 10_000}, {"max_tokens": 100, "min_tokens": 101}):
        with pytest.raises(InvalidInput):
            await reembedding.start("docs", **wrong)
    with pytest.raises(InvalidInput, match="several"):
        await reembedding.start("docs", model="hashing")
    await world.platform.collections.create("empty")
    with pytest.raises(Conflict, match="empty"):
        await reembedding.start("empty", model=world.other.identity.digest)
    for call in (
        reembedding.start("absent"),
        reembedding.status("absent"),
        reembedding.drop("docs", "absent"),
        reembedding.switch("docs", "absent"),
    ):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(Conflict):
        await reembedding.switch("docs")
    with pytest.raises(Conflict):
        await reembedding.drop("docs", before.space_id)
    assert await catalog.collection("docs") == before
    await start(world)
    with pytest.raises(Conflict, match="ready"):
        await reembedding.switch("docs")
    with pytest.raises(Conflict, match="being built"):
        await reembedding.start("docs", max_tokens=64)


async def test_another_chunker_cuts_anew_with_the_same_model(world: World) -> None:
    await ingest(world, long="\n\n".join(f"Sentence {number} about the harbour and its many ships." for number in range(12)))
    count = (await head(world)).stats.chunks
    await world.platform.reembedding.start("docs", max_tokens=24, min_tokens=8)
    while await world.platform.builder.tend():
        pass
    await switched(world)
    now = await head(world)
    assert now.stats.chunks > count
    collection = await world.platform.collections.get("docs")
    assert await world.platform.adapters.index.count_visible(collection.index_name(now.space_id), now.seq, now.gaps) == now.stats.chunks
    await ingest(world, long="Short now.")
    assert (await head(world)).stats.chunks == 6


async def test_progress_tells_rate_and_time_left(world: World) -> None:
    await start(world)
    await world.platform.builder.tend()
    await world.platform.builder.tend()
    (_, status) = await world.platform.reembedding.status("docs")
    assert status.build is not None
    assert (status.state, status.build.documents, status.documents_total, status.model_loaded) == ("filling", 2, 5, True)
    assert status.rate > 0
    assert status.seconds_left is not None
    assert status.seconds_left == pytest.approx(status.build.seconds * 3 / 2)


async def test_deleting_a_collection_takes_every_space_along(world: World) -> None:
    await start(world)
    await world.platform.builder.tend()
    await world.platform.collections.delete("docs")
    assert await world.platform.adapters.index.names() == []
    await world.platform.builder.tend()
