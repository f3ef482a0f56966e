"""If-Match: what does not conflict goes through on a head that moved, what conflicts is refused with the head and the documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragstone.domain.errors import InvalidInput, PreconditionFailed
from ragstone.domain.jobs import Delete, Job, JobResult, Move
from ragstone.domain.retention import Keep
from ragstone.domain.uploads import IngestRequest, Upload
from tests.support.world import World, embedded_world, fake_world


@pytest.fixture(params=["fakes", "embedded"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world = await (fake_world if request.param == "fakes" else embedded_world)(tmp_path)
    await world.platform.collections.create("docs")
    yield world
    await world.end(world.platform)


def text(path: str, words: str = "The ferry leaves at nine.") -> Upload:
    return Upload(path, words.encode(), "text/plain")


async def run(world: World, request: IngestRequest) -> Job:
    job = await world.platform.ingest.submit("docs", request)
    return await world.platform.ingest.wait(job.id, 20)


def result(job: Job) -> JobResult:
    assert job.result is not None
    return job.result


async def base(world: World, *paths: str) -> str:
    """The commit with these documents."""
    commit = result(await run(world, IngestRequest(tuple(text(path) for path in paths)))).commit_id
    assert commit is not None
    return commit


async def paths(world: World) -> list[str]:
    _, page = await world.platform.documents.page("docs")
    return [info.path for info in page]


async def refused(world: World, request: IngestRequest) -> PreconditionFailed:
    """The refusal, which changed nothing and names the head."""
    before = len(await world.platform.ingest.jobs("docs"))
    with pytest.raises(PreconditionFailed) as error:
        await world.platform.ingest.submit("docs", request)
    with pytest.raises(PreconditionFailed):
        await world.platform.ingest.plan("docs", request)
    assert len(await world.platform.ingest.jobs("docs")) == before
    head = await world.platform.snapshots.commit("docs", "head")
    conflict = error.value.conflict
    assert (conflict.head_id, conflict.position, conflict.seq) == (head.id, head.position, head.seq)
    assert head.id in error.value.message
    return error.value


async def test_what_does_not_conflict_is_published_on_the_head_that_moved(world: World) -> None:
    first = await base(world, "a.txt", "b.txt", "old/c.txt", "d.txt")
    await run(world, IngestRequest((text("b.txt", "Changed."), text("new.txt")), deletes=(Delete("d.txt"),)))
    job = await run(
        world,
        IngestRequest(
            (text("a.txt", "Changed too."),),
            deletes=(Delete("old/", prefix=True),),
            moves=(Move("a.txt", "moved.txt"),),
            expected_head=first,
        ),
    )
    assert job.state == "published"
    assert await paths(world) == ["a.txt", "b.txt", "moved.txt", "new.txt"]
    _, document = await world.platform.documents.get("docs", "b.txt")
    assert document.content == b"Changed."


@pytest.mark.parametrize(
    "request_",
    [
        IngestRequest((text("b.txt", "Mine."),)),
        IngestRequest((text("new.txt", "Mine."),)),
        IngestRequest(deletes=(Delete("b.txt"),)),
        IngestRequest(deletes=(Delete("b", prefix=True),)),
        IngestRequest(moves=(Move("b.txt", "x.txt"),)),
        IngestRequest(moves=(Move("a.txt", "gone.txt"),)),
        IngestRequest((text("a.txt", "Mine."),), deletes=(Delete("ne", prefix=True),)),
    ],
    ids=["changed", "added", "delete", "prefix", "move from", "move to", "prefix of an addition"],
)
async def test_a_document_that_changed_since_is_a_conflict(world: World, request_: IngestRequest) -> None:
    first = await base(world, "a.txt", "b.txt", "gone.txt")
    await run(world, IngestRequest((text("b.txt", "Theirs."), text("new.txt")), deletes=(Delete("gone.txt"),)))
    error = await refused(world, IngestRequest(request_.uploads, request_.deletes, request_.moves, expected_head=first))
    assert len(error.conflict.paths) == error.conflict.count == 1
    assert error.conflict.paths[0] in error.message


@pytest.mark.parametrize("exact", [False, True])
async def test_what_touches_everything_conflicts_with_any_newer_commit(world: World, exact: bool) -> None:
    first = await base(world, "a.txt")
    second = await base(world, "b.txt")
    request = IngestRequest((text("a.txt", "Mine."),), mirror=not exact, exact_head=exact)
    error = await refused(world, IngestRequest(request.uploads, mirror=request.mirror, exact_head=exact, expected_head=first))
    assert (error.conflict.paths, error.conflict.count) == ((), 0)
    with pytest.raises(PreconditionFailed):
        await world.platform.history.rollback("docs", first, expected_head=first)
    job = await world.platform.history.rollback("docs", first, expected_head=second)
    assert (await world.platform.ingest.wait(job.id, 20)).state == "published"
    assert await paths(world) == ["a.txt"]


async def test_it_is_checked_again_under_the_lease(world: World) -> None:
    first = await base(world, "a.txt")
    ingest = world.platform.ingest
    wanted = [
        IngestRequest((text(path, words),), expected_head=first)
        for path, words in (("a.txt", "One."), ("a.txt", "Two."), ("b.txt", "Three."))
    ]
    jobs = await asyncio.gather(*(ingest.submit("docs", request) for request in wanted))
    done = [await ingest.wait(job.id, 20) for job in jobs]
    assert [job.state for job in sorted(done, key=lambda job: job.number)].count("failed") == 1
    [failed] = [job for job in done if job.state == "failed"]
    conflict = result(failed).conflict
    assert (result(failed).status, result(failed).error_code) == (412, "precondition-failed")
    assert conflict is not None
    assert (conflict.paths, conflict.count) == (("a.txt",), 1)


async def test_a_request_sent_again_under_its_key_is_not_refused_by_its_own_commit(world: World) -> None:
    first = await base(world, "a.txt")
    ingest = world.platform.ingest
    request = IngestRequest((text("a.txt", "Changed."),), expected_head=first)
    sent = await ingest.submit("docs", request, idempotency_key="k")
    assert (await ingest.wait(sent.id, 20)).state == "published"
    again = await ingest.submit("docs", request, idempotency_key="k")
    assert (again.id, again.state) == (sent.id, "published")


async def test_a_document_that_was_changed_and_changed_back_is_no_conflict(world: World) -> None:
    first = await base(world, "a.txt")
    await run(world, IngestRequest((text("a.txt", "Changed."),)))
    await run(world, IngestRequest((text("a.txt"),)))
    assert (await run(world, IngestRequest((text("a.txt", "Mine."),), expected_head=first[:9]))).state == "published"


async def test_many_conflicts_are_counted_and_some_are_named(world: World) -> None:
    first = await base(world, *(f"{n}.txt" for n in range(30)))
    changed = IngestRequest(tuple(text(f"{n}.txt", "Theirs.") for n in range(30)))
    await run(world, changed)
    error = await refused(world, IngestRequest(deletes=(Delete("", prefix=True),), expected_head=first))
    assert (len(error.conflict.paths), error.conflict.count) == (20, 30)
    assert "and 27 more" in error.message
    assert len(error.message) < 500


async def test_a_commit_that_is_not_known_fails_and_what_is_no_commit_is_refused(world: World) -> None:
    with pytest.raises(PreconditionFailed, match="empty") as empty:
        await world.platform.ingest.submit("docs", IngestRequest((text("a.txt"),), expected_head="0" * 40))
    assert empty.value.conflict.head_id is None
    assert (await run(world, IngestRequest((text("a.txt"),), expected_head=""))).state == "published"
    for unknown, reason in (("0" * 40, "has no commit 000000000000"), ("", "not empty any more")):
        error = await refused(world, IngestRequest((text("b.txt"),), expected_head=unknown))
        assert reason in error.message
    for wrong in ("0", "main", "x" * 40):
        with pytest.raises(InvalidInput, match="If-Match") as bad:
            await world.platform.ingest.submit("docs", IngestRequest((text("b.txt"),), expected_head=wrong), idempotency_key="k")
        assert bad.value.status == 422


async def test_a_pruned_commit_can_not_be_compared_with(world: World) -> None:
    first = await base(world, "a.txt")
    await base(world, "b.txt")
    await world.platform.adapters.catalog.prune("docs", Keep(last=1))
    error = await refused(world, IngestRequest((text("c.txt"),), expected_head=first))
    assert "was pruned" in error.message
