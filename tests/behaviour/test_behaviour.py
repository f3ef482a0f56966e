"""The core's promises over embedded and over networked stores: the same tests, none left out for any of them.

Invariants of DESIGN.md section 1: snapshot reads, atomic publish, time travel, rollback without embedding, embed once, no loss and no ghosts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ragstone.domain.documents import checksum
from ragstone.domain.errors import NotFound
from ragstone.domain.jobs import Move, Put
from ragstone.use_cases.platform import Platform
from ragstone.use_cases.query import Question
from tests.behaviour import worlds
from tests.behaviour.client import Client, text

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROUNDS = 12
WORLDS = [
    pytest.param("embedded", marks=pytest.mark.xdist_group("embedded")),
    pytest.param("mixed", marks=[pytest.mark.packaged, pytest.mark.xdist_group("mixed")]),
    pytest.param("networked", marks=[pytest.mark.servers, pytest.mark.xdist_group("networked")]),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WORLDS)
async def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """What clients talk to."""
    directory, given = tmp_path_factory.mktemp(request.param), request.getfixturevalue
    match request.param:
        case "embedded":
            world = worlds.alone(directory, {})
        case "mixed":
            world = worlds.alone(directory, worlds.mixed(given("mongo_url"), given("nats_url")))
        case _:
            servers = (given("mongo_url"), given("nats_url"), given("lakefs_server"), given("qdrant_url"))
            world = worlds.with_workers(directory, worlds.networked(*servers))
    async with world as platform:
        yield platform


@pytest_asyncio.fixture(loop_scope="module")
async def client(platform: Platform) -> AsyncIterator[Client]:
    """The collection is sound after each test."""
    made = await Client.of(platform)
    yield made
    await made.is_sound()


async def test_what_was_ingested_is_found_and_read_back(client: Client) -> None:
    documents = {"trips/ferry.txt": text("ferry nine", "coats"), "lamp.txt": text("lamp dusk")}
    first = await client.ingest(documents)
    assert (first.position, first.stats.documents, first.stats.chunks_embedded) == (1, 2, first.stats.chunks_added)
    found = await client.search("ferry nine", min_commit=first.commit_id)
    assert found.passages[0].chunk.path == "trips/ferry.txt"
    assert found.snapshot.commit_id == found.passages[0].chunk.commit_id == first.commit_id
    _, stored = await client.platform.documents.get(client.collection, "lamp.txt", min_commit=first.commit_id)
    assert stored.content.decode() == documents["lamp.txt"]
    answer = await client.platform.query.run(Question(client.collection, "lamp dusk"))
    logged = await client.platform.interactions.get(answer.interaction.id)
    assert (logged.commit_id, logged.answer["text"]) == (first.commit_id, answer.answer.text)


async def test_what_is_there_already_is_neither_embedded_nor_committed(client: Client) -> None:
    documents = {"a.txt": text("ferry nine"), "b.txt": text("lamp dusk")}
    first = await client.ingest(documents)
    again = await client.done(await client.submit(documents))
    assert again.state == "unchanged"
    copied = await client.ingest({"c.txt": documents["a.txt"]})
    assert (copied.position, copied.stats.chunks_embedded, copied.stats.chunks_reused) == (2, 0, copied.stats.chunks_added)
    moved = await client.ingest({}, moves=(Move("b.txt", "d/b.txt"),))
    assert moved.stats.chunks_embedded == 0
    assert await client.documents(min_commit=moved.commit_id) == {
        "a.txt": checksum(documents["a.txt"].encode()),
        "c.txt": checksum(documents["a.txt"].encode()),
        "d/b.txt": checksum(documents["b.txt"].encode()),
    }
    assert first.stats.chunks_embedded == len({*documents.values()})


async def test_a_request_that_is_sent_again_is_carried_out_once(client: Client) -> None:
    documents = {"a.txt": text("ferry nine")}
    jobs = await asyncio.gather(*(client.submit(documents, key="one") for _ in range(4)))
    assert len({job.id for job in jobs}) == 1
    assert (await client.published(jobs[0])).position == 1
    assert (await client.submit(documents, key="one")).state == "published"


async def test_every_commit_shows_for_ever_what_it_showed(client: Client) -> None:
    await client.ingest({"a.txt": text("ferry nine", "lamp dusk", "salt box"), "b.txt": text("lamp dusk", "boat shed")})
    second = await client.ingest({"a.txt": text("ferry ten", "lamp dusk", "salt box"), "c.txt": text("rope", "rope")})
    await client.ingest({"a.txt": text("ferry ten", "salt box")}, deletes=("b.txt",))
    before = await client.picture()
    await client.platform.history.tag(client.collection, "kept", f"#{second.position}")
    await client.ingest({"a.txt": text("new first", "ferry ten", "salt"), "b.txt": text("lamp dusk", "boat shed", "salt")})
    await client.rollback("kept")
    last = await client.ingest({"d.txt": text("anchor", "salt box")}, deletes=("c.txt",))
    after = await client.picture()
    assert after[: len(before)] == before
    assert len(after) == last.position == len(before) + 3
    assert (await client.search("salt", as_of="kept")).snapshot.commit_id == second.commit_id


async def test_a_rollback_is_the_old_state_and_embeds_nothing(client: Client) -> None:
    first = await client.ingest({"a.txt": text("ferry nine", "lamp dusk"), "b.txt": text("boat shed")})
    later = await client.ingest({"a.txt": text("ferry ten", "lamp dusk"), "c.txt": text("rope")}, deletes=("b.txt",))
    back = await client.rollback(str(first.commit_id))
    forward = await client.rollback(str(later.commit_id))
    assert back.stats.chunks_embedded == forward.stats.chunks_embedded == 0
    assert [back.position, forward.position] == [3, 4]
    shown = await client.picture()
    for old, new in ((0, 2), (1, 3)):
        assert shown[new]["documents"] == shown[old]["documents"]
        assert _scores(shown[new]) == _scores(shown[old])


async def test_what_was_deleted_is_not_found_and_stays_in_the_past(client: Client) -> None:
    first = await client.ingest({"a.txt": text("ferry nine"), "b.txt": text("ferry nine too")})
    gone = await client.ingest({}, deletes=("a.txt",))
    found = await client.search("ferry nine", min_commit=gone.commit_id, top_k=50)
    assert {passage.chunk.path for passage in found.passages} == {"b.txt"}
    with pytest.raises(NotFound):
        await client.platform.documents.get(client.collection, "a.txt", min_commit=gone.commit_id)
    old = await client.search("ferry nine", as_of=first.commit_id, top_k=50)
    assert {passage.chunk.path for passage in old.passages} == {"a.txt", "b.txt"}
    failed = await client.done(await client.submit({}, deletes=("a.txt",)))
    assert failed.result is not None
    assert (failed.state, failed.result.status) == ("failed", 404)


async def test_two_writers_lose_nothing_and_come_one_after_the_other(client: Client) -> None:
    async def write(name: str) -> list[str]:
        jobs = []
        for number in range(ROUNDS):
            job = await client.submit({f"{name}/{number}.txt": text(f"{name} {number}"), "both.txt": text(f"by {name} {number}")})
            jobs.append(job.id)
        return jobs

    ids = [job_id for one in await asyncio.gather(write("ada"), write("bob")) for job_id in one]
    jobs = [await client.done(await client.platform.ingest.job(job_id)) for job_id in ids]
    assert {job.state for job in jobs} == {"published"}
    in_order = sorted(jobs, key=lambda job: job.number)
    assert [job.result.position for job in in_order if job.result] == list(range(1, 2 * ROUNDS + 1))
    documents = await client.documents(min_commit=in_order[-1].result.commit_id if in_order[-1].result else None)
    assert documents.keys() == {"both.txt"} | {f"{name}/{number}.txt" for name in ("ada", "bob") for number in range(ROUNDS)}
    shown = await client.picture()
    for number, (job, commit) in enumerate(zip(in_order, shown, strict=True)):
        last = next(change.staged for change in job.request.changes if isinstance(change, Put) and change.path == "both.txt")
        assert len(commit["documents"]) == number + 2
        assert commit["documents"]["both.txt"][0] == last[:16]


async def test_writers_of_several_collections_do_not_mix(platform: Platform) -> None:
    clients = [await Client.of(platform) for _ in range(3)]

    async def write(client: Client) -> None:
        for number in range(4):
            await client.ingest({f"{number}.txt": text(f"{client.collection} {number}")})

    await asyncio.gather(*(write(client) for client in clients))
    for client in clients:
        found = await client.search(client.collection, top_k=50)
        assert {passage.chunk.text.split()[0] for passage in found.passages} == {client.collection}
        assert len(await client.documents()) == 4
        await client.is_sound()


async def test_readers_see_one_commit_at_a_time_and_never_an_older_one(client: Client) -> None:
    """Two documents change together, round after round; whoever reads sees both of the same round."""

    def state(number: int) -> dict[str, str]:
        return {"left.txt": text(f"left round{number}"), "right.txt": text(f"right round{number}")}

    rounds = {str((await client.ingest(state(0))).commit_id): 0}
    published, reads = asyncio.Event(), list[tuple[str, int, frozenset[str]]]()

    async def read() -> None:
        seen = 0
        while not published.is_set():
            found = await client.search("left right round", top_k=50)
            words = frozenset(
                word for passage in found.passages for word in passage.chunk.text.replace(".", " ").split() if "round" in word
            )
            assert {passage.chunk.path for passage in found.passages} == {"left.txt", "right.txt"}
            assert found.snapshot.position >= seen, "a reader went back in time"
            seen = found.snapshot.position
            reads.append((found.snapshot.commit_id, seen, words))
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(3)]
    try:
        for number in range(1, ROUNDS + 1):
            result = await client.ingest(state(number))
            rounds[str(result.commit_id)] = number
            own = await client.search("left right round", min_commit=result.commit_id)
            assert own.snapshot.seq >= (result.seq or 0)
    finally:
        published.set()
        await asyncio.gather(*readers)
    assert len({commit for commit, _, _ in reads}) > 1
    for commit, position, words in reads:
        assert (rounds[commit], words) == (position - 1, frozenset({f"round{position - 1}"}))


def _scores(commit: dict[str, Any]) -> list[tuple[float, ...]]:
    """Of every search of one commit. Ids differ from commit to commit, and with them the order of hits that are equally good."""
    return [
        hit
        for asked in commit["questions"].values()
        for hit in sorted(tuple(round(number, 5) for number in hit[1:]) for hit in asked["hits"])
    ]
