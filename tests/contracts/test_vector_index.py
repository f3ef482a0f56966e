"""The contract of `VectorIndex`, over Qdrant Edge, a Qdrant server (with one shard and with two) and the fake."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.domain.commits import OPEN, visible
from ragstone.domain.documents import Metadata
from ragstone.domain.errors import InternalError, NotFound
from ragstone.domain.filters import Condition, Equals, Exists, Filter, Not, OneOf, PathPrefix, Range, matches
from ragstone.domain.retrieval import IndexedChunk, Point, StoredPoint
from ragstone.ports.vector_index import VectorIndex
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.servers import qdrant
from tests.support.points import DIMENSION, point, space, unit

NAME = "kb-1-space"

ADAPTERS: dict[str, Callable[[Path], VectorIndex]] = {
    "edge": lambda folder: QdrantEdgeIndex(folder / "index"),
    "fake": lambda _: InMemoryVectorIndex(),
}


@pytest.fixture(
    params=[*ADAPTERS, pytest.param("qdrant", marks=pytest.mark.servers), pytest.param("qdrant shards", marks=pytest.mark.servers)]
)
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    if request.param in ADAPTERS:
        index = ADAPTERS[request.param](tmp_path)
        yield index
        await index.aclose()
    else:
        shards = 2 if request.param == "qdrant shards" else 1
        remote = qdrant.index(qdrant.server(request.getfixturevalue("qdrant_url"), shard_number=shards))
        yield remote
        await qdrant.dropped(remote)


@pytest.fixture
async def index(empty: VectorIndex) -> VectorIndex:
    await empty.create(NAME, space())
    return empty


@dataclass(frozen=True)
class Found:
    """A candidate with its chunk."""

    chunk: IndexedChunk
    dense: float
    bm25: float
    dense_rank: int | None
    bm25_rank: int | None


async def find(
    index: VectorIndex,
    seq: int = 1,
    gaps: frozenset[int] = frozenset(),
    *,
    vector: tuple[float, ...] = (1,),
    text: str = "quartz",
    filter: Filter | None = None,
    limit: int = 100,
    exact: bool = True,
) -> list[Found]:
    found = await index.search(NAME, seq, gaps, vector=unit(*vector), text=text, filter=filter or Filter(), limit=limit, exact=exact)
    chunks = await index.chunks(NAME, [candidate.id for candidate in found])
    return [Found(chunks[c.id], c.dense, c.bm25, c.dense_rank, c.bm25_rank) for c in found]


async def paths_at(index: VectorIndex, seq: int, gaps: frozenset[int] = frozenset()) -> set[str]:
    return {candidate.chunk.path for candidate in await find(index, seq, gaps)}


async def test_an_index_that_was_not_created_is_not_found_and_not_made(empty: VectorIndex) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: empty.insert(NAME, [point()]),
        lambda: empty.close_points(NAME, [point().chunk.id], 2, ()),
        lambda: empty.opened(NAME, 1),
        lambda: empty.closed(NAME, 1),
        lambda: empty.visible(NAME, 1, (), ["a.md"]),
        lambda: empty.count_visible(NAME, 1, ()),
        lambda: empty.chunks(NAME, [point().chunk.id]),
        lambda: empty.vectors(NAME, ["0"]),
        lambda: find(empty),
        lambda: empty.erase_attempts(NAME, [1]),
        lambda: empty.count_range(NAME, 1, 2, ()),
        lambda: empty.erase_range(NAME, 1, 2, ()),
        lambda: empty.erase_path(NAME, "a.md", 2),
        lambda: empty.size(NAME),
        lambda: empty.compact(NAME),
        lambda: empty.scan(NAME),
        lambda: empty.mend(NAME, [point()], [], head=1),
        lambda: empty.flush(NAME),
        lambda: empty.optimise(NAME),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call()
    assert not await empty.exists(NAME)


async def test_create_is_idempotent_and_keeps_points(index: VectorIndex) -> None:
    await index.insert(NAME, [point()])
    await index.create(NAME, space())
    assert await index.exists(NAME)
    assert await index.opened(NAME, 1) == 1


async def test_drop_forgets_everything_and_is_idempotent(index: VectorIndex) -> None:
    await index.insert(NAME, [point()])
    await index.drop(NAME)
    await index.drop(NAME)
    assert not await index.exists(NAME)
    await index.create(NAME, space())
    assert await index.count_visible(NAME, 9, ()) == 0


async def test_indexes_are_listed_until_they_are_dropped(index: VectorIndex) -> None:
    await index.create("other-1-space", space())
    assert await index.names() == [NAME, "other-1-space"]
    await index.drop(NAME)
    assert await index.names() == ["other-1-space"]


async def test_an_index_takes_the_place_of_another(index: VectorIndex) -> None:
    await index.insert(NAME, [point("old.md")])
    await index.create("spare", space())
    await index.insert("spare", [point("new.md")])
    await index.replace(NAME, "spare")
    assert await index.names() == [NAME]
    assert await paths_at(index, 1) == {"new.md"}
    await index.create("spare", space())
    await index.drop(NAME)
    await index.replace(NAME, "spare")
    assert await paths_at(index, 1) == set()
    with pytest.raises(NotFound):
        await index.replace(NAME, "spare")
    assert await index.exists(NAME)


async def test_indexes_are_apart(index: VectorIndex) -> None:
    await index.create("other-1-space", space())
    await index.insert("other-1-space", [point()])
    assert await find(index) == []


async def test_a_chunk_comes_back_as_it_was(index: VectorIndex) -> None:
    metadata = {"n": 3, "x": 1.0, "b": True, "s": "1", "tags": ("p", "q"), "big": 2**63 + 1, 'odd. "key" ü': "ü", "empty": ()}
    written = point("d/ü.md", "Quartz veins", (1, 2), page=4, title="T", heading_path=("A", "B"), metadata=metadata, start=7, occurrence=2)
    await index.insert(NAME, [written])
    (read,) = await index.visible(NAME, 1, (), ["d/ü.md"])
    assert read == written.chunk
    assert [type(value) for value in read.metadata.values()] == [type(value) for value in metadata.values()]
    (found,) = await find(index)
    assert found.chunk == read


async def test_chunks_are_found_by_id_whatever_their_validity(index: VectorIndex) -> None:
    old, new = point("old.md"), point("new.md", seq_from=7)
    await index.insert(NAME, [old, new])
    await index.close_points(NAME, [old.chunk.id], 2, ())
    found = await index.chunks(NAME, [new.chunk.id, old.chunk.id, "00000000-0000-0000-0000-000000000000"])
    assert found == {old.chunk.id: replace(old.chunk, seq_to=2), new.chunk.id: new.chunk}
    assert await index.chunks(NAME, []) == {}


async def test_insert_leaves_a_point_that_exists_as_it_is(index: VectorIndex) -> None:
    first = point(vector=(1,))
    await index.insert(NAME, [first])
    await index.close_points(NAME, [first.chunk.id], 2, ())
    await index.insert(NAME, [replace(first, vector=unit(0, 1))])
    assert await index.closed(NAME, 2) == 1
    (found,) = await find(index, 1)
    assert found.dense == pytest.approx(1)


async def test_of_two_points_with_one_id_in_a_call_the_first_counts(index: VectorIndex) -> None:
    first = point(vector=(1,))
    await index.insert(NAME, [first, replace(first, vector=unit(0, 1))])
    (found,) = await find(index)
    assert found.dense == pytest.approx(1)


@pytest.mark.parametrize(
    "vector",
    [
        np.ones(DIMENSION + 1, np.float32),
        np.ones((1, DIMENSION), np.float32),
        np.array([1, float("nan"), 0, 0], np.float32),
        np.array([1, float("inf"), 0, 0], np.float32),
    ],
    ids=["dimension", "shape", "nan", "infinity"],
)  # fmt: skip
async def test_a_bad_vector_is_refused_before_anything_is_written(index: VectorIndex, vector: np.ndarray) -> None:
    good = point("good.md")
    with pytest.raises(InternalError):
        await index.insert(NAME, [good, Point(point("bad.md").chunk, vector)])
    assert await index.opened(NAME, 1) == 0
    await index.insert(NAME, [good])
    with pytest.raises(InternalError):
        await index.search(NAME, 1, (), vector=vector, text="quartz", filter=Filter(), limit=5, exact=True)


async def test_close_takes_open_points_and_those_closed_by_gaps_only(index: VectorIndex) -> None:
    open_, by_gap, by_published = point("open.md"), point("gap.md"), point("published.md")
    await index.insert(NAME, [open_, by_gap, by_published])
    await index.close_points(NAME, [by_gap.chunk.id], 3, ())
    await index.close_points(NAME, [by_published.chunk.id], 4, ())
    await index.close_points(NAME, [p.chunk.id for p in (open_, by_gap, by_published)], 5, {3})
    assert [await index.closed(NAME, a) for a in (3, 4, 5)] == [0, 1, 2]


async def test_close_touches_only_the_ids_given(index: VectorIndex) -> None:
    await index.insert(NAME, [point("a.md"), point("b.md")])
    await index.close_points(NAME, [point("a.md").chunk.id, "00000000-0000-0000-0000-000000000000"], 2, ())
    await index.close_points(NAME, [], 2, ())
    assert await paths_at(index, 2) == {"b.md"}
    assert await paths_at(index, 1) == {"a.md", "b.md"}


async def test_counts_are_exact_over_many_points(index: VectorIndex) -> None:
    points = [point(f"{i}.md", seq_from=1 + i % 2) for i in range(700)]
    await index.insert(NAME, points)
    await index.close_points(NAME, [p.chunk.id for p in points[:601]], 3, ())
    assert (await index.opened(NAME, 1), await index.opened(NAME, 2), await index.closed(NAME, 3)) == (350, 350, 601)
    assert await index.count_visible(NAME, 3, ()) == 99
    assert len(await index.visible(NAME, 2, (), [p.chunk.path for p in points])) == 700


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
async def test_every_read_sees_exactly_the_snapshot(index: VectorIndex, data: st.DataObject) -> None:
    interval = st.tuples(st.integers(1, 6), st.sampled_from([*range(2, 8), OPEN]))
    intervals = data.draw(st.lists(interval, min_size=1, max_size=12))
    gaps = frozenset(data.draw(st.sets(st.integers(1, 7), max_size=4)))
    seq = data.draw(st.integers(0, 7))
    points = [point(f"{i}.md", seq_from=low, seq_to=high) for i, (low, high) in enumerate(intervals)]
    await index.erase_attempts(NAME, range(1, 7))  # what the example before wrote
    await index.insert(NAME, points)
    expected = {p.chunk.path for p in points if visible(p.chunk.seq_from, p.chunk.seq_to, seq, gaps)}
    assert await paths_at(index, seq, gaps) == expected
    assert {c.path for c in await index.visible(NAME, seq, gaps, [p.chunk.path for p in points])} == expected
    assert await index.count_visible(NAME, seq, gaps) == len(expected)


async def test_a_late_writer_of_an_aborted_attempt_changes_no_published_snapshot(index: VectorIndex) -> None:
    kept, changed = point("kept.md"), point("changed.md", "old quartz", (1, 1))
    await index.insert(NAME, [kept, changed])
    at_one = await find(index, 1)
    # attempt 2 was aborted; attempt 3 changes a document and is published with 2 among its gaps
    gaps = frozenset({2})
    await index.insert(NAME, [point("changed.md", "new quartz", (0, 1), seq_from=3)])
    await index.close_points(NAME, [changed.chunk.id], 3, gaps)
    at_three = await find(index, 3, gaps)
    # now the writer of attempt 2 wakes up
    await index.insert(NAME, [point("changed.md", "zombie quartz", seq_from=2), point("ghost.md", seq_from=2)])
    await index.close_points(NAME, [kept.chunk.id, changed.chunk.id], 2, ())
    assert _facts(await find(index, 1)) == _facts(at_one)
    assert _facts(await find(index, 3, gaps)) == _facts(at_three)
    await index.erase_attempts(NAME, [2])
    assert await find(index, 1) == [replace(c, chunk=replace(c.chunk, seq_to=3 if c.chunk.path == "changed.md" else OPEN)) for c in at_one]
    assert await find(index, 3, frozenset()) == at_three
    assert (await index.opened(NAME, 2), await index.closed(NAME, 2), await index.closed(NAME, 3)) == (0, 0, 1)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
async def test_a_range_is_erased_and_no_kept_snapshot_changes(index: VectorIndex, data: st.DataObject) -> None:
    interval = st.tuples(st.integers(1, 8), st.sampled_from([*range(2, 10), OPEN])).filter(lambda pair: pair[0] < pair[1])
    intervals = data.draw(st.lists(interval, min_size=1, max_size=14))
    gaps = frozenset(data.draw(st.sets(st.integers(1, 9), max_size=3)))
    after = data.draw(st.integers(0, 7))
    until = data.draw(st.integers(after + 1, 9))
    points = [point(f"{i}.md", seq_from=low, seq_to=high) for i, (low, high) in enumerate(intervals)]
    await index.erase_attempts(NAME, range(1, 10))  # what the example before wrote
    await index.insert(NAME, points)
    kept = [seq for seq in range(10) if seq <= after or seq >= until]
    before = [_facts(await find(index, seq, gaps)) for seq in kept]
    condemned = [c.id for c in (p.chunk for p in points) if c.seq_from > after and c.seq_to <= until and c.seq_to not in gaps]
    assert await index.count_range(NAME, after, until, gaps) == len(condemned)
    assert await index.erase_range(NAME, after, until, gaps) == len(condemned)
    assert (await index.chunks(NAME, [p.chunk.id for p in points])).keys() == {p.chunk.id for p in points} - set(condemned)
    assert [_facts(await find(index, seq, gaps)) for seq in kept] == before
    assert await index.count_range(NAME, after, until, gaps) == await index.erase_range(NAME, after, until, gaps) == 0


async def test_a_range_of_many_points_is_erased_whole(index: VectorIndex) -> None:
    points = [point(f"{i}.md", seq_from=1 + i % 2) for i in range(1300)]
    await index.insert(NAME, points)
    await index.close_points(NAME, [p.chunk.id for p in points[:1250]], 3, ())
    assert await index.count_range(NAME, 0, 3, {3}) == 0
    assert await index.erase_range(NAME, 1, 3, ()) == 625
    assert await index.erase_range(NAME, 0, 3, ()) == 625
    assert await index.count_visible(NAME, 3, ()) == 50


async def test_a_document_is_erased_at_every_seq_up_to_one(index: VectorIndex) -> None:
    old, closed, new, other = point("a.md", "one"), point("a.md", "two"), point("a.md", "three", seq_from=5), point("a.md/b", "one")
    await index.insert(NAME, [old, closed, new, other])
    await index.close_points(NAME, [closed.chunk.id], 2, ())
    await index.insert(NAME, [point("a.md", str(i), seq_from=3) for i in range(1200)])
    assert await index.erase_path(NAME, "a.md", 4) == 1202
    assert await index.chunks(NAME, [p.chunk.id for p in (old, closed)]) == {}
    assert [c.path for c in await index.visible(NAME, 9, (), ["a.md", "a.md/b"])] == ["a.md", "a.md/b"]
    assert await index.erase_path(NAME, "a.md", 4) == 0
    assert await index.vectors(NAME, [old.chunk.content_hash]) != {}  # the other document's


async def test_statistics_follow_what_is_erased(index: VectorIndex) -> None:
    await index.insert(NAME, [point("a.md", "quartz"), point("b.md", "basalt")])
    before = {c.chunk.path: c.bm25 for c in await find(index)}
    await index.insert(NAME, [point(f"{i}.md", "quartz", seq_from=0) for i in range(9)])
    with_others = {c.chunk.path: c.bm25 for c in await find(index)}
    assert with_others["a.md"] != before["a.md"]
    for i in range(9):
        await index.erase_path(NAME, f"{i}.md", 0)
    assert {c.chunk.path: c.bm25 for c in await find(index)} == before


async def test_compaction_changes_no_read(index: VectorIndex) -> None:
    rng, words = np.random.default_rng(7), ["quartz", "basalt", "granite", "gneiss", "marble", "slate", "chalk", "flint"]
    points = [
        point(
            f"{i}.md",
            " ".join(rng.choice(words, 9)),
            tuple(rng.normal(size=DIMENSION)),
            metadata={"year": 2000 + i % 7, "k": ("a", f"{i}")},
        )
        for i in range(300)
    ]
    await index.insert(NAME, points)
    await index.insert(
        NAME, [point("mixed.md", metadata={"big": 2**63 + 1, "x": 1.5, 'odd. "key" ü': -0.0, "empty": ()}, page=3, title="T")]
    )
    await index.close_points(NAME, [p.chunk.id for p in points[:50]], 2, ())
    for i in range(100, 120):
        await index.erase_path(NAME, f"{i}.md", 1)

    async def reads() -> list[object]:
        some = [
            _facts(
                await find(
                    index, seq, vector=tuple(rng.normal(size=DIMENSION)), text=" ".join(rng.choice(words, 3)), filter=filter_, limit=20
                )
            )
            for rng in [np.random.default_rng(8)]
            for seq in (1, 2)
            for filter_ in [
                Filter(),
                Filter((Range("year", gte=2003),)),
                Filter((Equals("k", "7"),)),
                Filter((Range('odd. "key" ü', lte=0),)),
            ]
        ]
        vectors = await index.vectors(NAME, [p.chunk.content_hash for p in points])
        return [
            some,
            {key: vector.tobytes() for key, vector in vectors.items()},
            await index.chunks(NAME, [p.chunk.id for p in points]),
            await index.visible(NAME, 1, (), ["mixed.md", "3.md"]),
            [await index.opened(NAME, 1), await index.closed(NAME, 2), await index.count_visible(NAME, 2, ())],
        ]

    before = await reads()
    await index.compact(NAME)
    assert await reads() == before
    await index.close_points(NAME, [points[60].chunk.id], 3, ())
    await index.insert(NAME, [point("new.md", seq_from=3)])
    await asyncio.gather(index.compact(NAME), index.compact(NAME))
    assert await index.count_visible(NAME, 3, ()) == 301 - 20 - 50
    assert (await reads())[:2] == before[:2]


async def test_the_size_grows_with_the_points(index: VectorIndex) -> None:
    empty_size = await index.size(NAME)
    await index.insert(NAME, [point(f"{i}.md", f"quartz {i} " * 200) for i in range(600)])
    await index.flush(NAME)
    assert await index.size(NAME) > empty_size


async def test_visible_is_in_order_of_path_and_place(index: VectorIndex) -> None:
    points = [point("b.md", "x", start=5), point("b.md", "y", start=0), point("a.md", "z", start=9), point("c.md", "w")]
    await index.insert(NAME, points)
    assert [(c.path, c.start) for c in await index.visible(NAME, 1, (), ["b.md", "a.md", "nope.md"])] == [
        ("a.md", 9),
        ("b.md", 0),
        ("b.md", 5),
    ]
    assert await index.visible(NAME, 1, (), []) == []


async def test_vectors_are_found_by_hash_whatever_their_validity(index: VectorIndex) -> None:
    old, many = point(text="old", vector=(1, 2, 3)), [point(f"{i}.md", "many", (0, 0, 1)) for i in range(5)]
    await index.insert(NAME, [old, *many])
    await index.close_points(NAME, [old.chunk.id], 2, ())
    found = await index.vectors(NAME, [old.chunk.content_hash, many[0].chunk.content_hash, "f" * 64])
    assert found.keys() == {old.chunk.content_hash, many[0].chunk.content_hash}
    assert np.array_equal(found[old.chunk.content_hash], old.vector)
    assert found[old.chunk.content_hash].dtype == np.float32
    assert await index.vectors(NAME, []) == {}


async def test_search_gives_both_lists_and_the_cosine_of_every_candidate(index: VectorIndex) -> None:
    near, far = point("near.md", "granite", (1, 0.1)), point("far.md", "quartz", (0, 1))
    await index.insert(NAME, [near, far, point("neither.md", "basalt", (0, 0, 1))])
    found = {c.chunk.path: c for c in await find(index, vector=(1,), limit=1)}
    assert found.keys() == {"near.md", "far.md"}
    assert (found["near.md"].dense_rank, found["near.md"].bm25_rank, found["near.md"].bm25) == (1, None, 0.0)
    assert (found["far.md"].dense_rank, found["far.md"].bm25_rank) == (None, 1)
    assert found["far.md"].bm25 > 0
    assert found["near.md"].dense == pytest.approx(float(near.vector @ unit(1)), abs=1e-6)
    assert found["far.md"].dense == pytest.approx(0, abs=1e-6)


async def test_rarer_words_and_more_of_them_score_higher(index: VectorIndex) -> None:
    await index.insert(NAME, [point(f"{i}.md", f"basalt filler{i}") for i in range(6)])
    await index.insert(NAME, [point("rare.md", "quartz filler"), point("twice.md", "basalt basalt")])
    scores = {c.chunk.path: c.bm25 for c in await find(index, text="basalt quartz")}
    assert scores["rare.md"] > scores["twice.md"] > scores["0.md"] > 0


async def test_a_question_without_words_or_with_unknown_ones_has_no_bm25_list(index: VectorIndex) -> None:
    await index.insert(NAME, [point()])
    for text in ("", "?!", "the", "unheard"):
        (found,) = await find(index, text=text)
        assert (found.bm25, found.bm25_rank, found.dense_rank) == (0.0, None, 1)


async def test_limit_holds_for_each_list_and_candidates_are_in_order_of_id(index: VectorIndex) -> None:
    await index.insert(NAME, [point(f"{i}.md", "quartz " * (1 + i % 3), (1, i / 10)) for i in range(40)])
    found = await find(index, limit=7)
    assert [c.chunk.id for c in found] == sorted(c.chunk.id for c in found)
    assert sorted(c.dense_rank for c in found if c.dense_rank) == list(range(1, 8))
    assert sorted(c.bm25_rank for c in found if c.bm25_rank) == list(range(1, 8))


async def test_equal_scores_are_ordered_by_id_also_at_the_cut(index: VectorIndex) -> None:
    points = [point(f"{i}.md") for i in range(150)]
    random.Random(1).shuffle(points)
    await index.insert(NAME, points)
    first = sorted(p.chunk.id for p in points)[:5]
    for exact in (True, False):
        found = await find(index, limit=5, exact=exact)
        assert [(c.chunk.id, c.dense_rank, c.bm25_rank) for c in found] == [(id_, rank, rank) for rank, id_ in enumerate(first, 1)]


async def test_bm25_statistics_are_those_of_the_snapshot_without_the_filter(index: VectorIndex) -> None:
    await index.insert(NAME, [point("a.md", "quartz"), point("b.md", "basalt"), point("c.md", "basalt")])
    filtered = {c.chunk.path: c.bm25 for c in await find(index, filter=Filter((PathPrefix("a"),)))}
    all_of_it = {c.chunk.path: c.bm25 for c in await find(index)}
    unasked = {c.chunk.path: c.bm25 for c in await find(index, 7)}  # a snapshot with the same points, whose statistics nobody has asked for
    assert filtered == {"a.md": all_of_it["a.md"]}
    assert unasked == all_of_it
    await index.insert(NAME, [point(f"{i}.md", "quartz", seq_from=2) for i in range(20)])
    later = {c.chunk.path: c.bm25 for c in await find(index, 2)}
    assert later["a.md"] < all_of_it["a.md"]


async def test_statistics_follow_what_is_written_before_a_commit_is_published(index: VectorIndex) -> None:
    await index.insert(NAME, [point("a.md", "quartz"), point("b.md", "basalt")])
    before = {c.chunk.path: c.bm25 for c in await find(index, 5)}
    await index.insert(NAME, [point(f"{i}.md", "quartz", seq_from=5) for i in range(9)])
    written = {c.chunk.path: c.bm25 for c in await find(index, 5)}
    assert written["a.md"] < before["a.md"]
    await index.erase_attempts(NAME, [5])
    assert {c.chunk.path: c.bm25 for c in await find(index, 5)} == before


async def test_searches_of_a_snapshot_stay_identical_while_others_write(index: VectorIndex) -> None:
    rng, words = np.random.default_rng(5), ["quartz", "basalt", "granite", "gneiss", "marble", "slate", "chalk", "flint"]

    def some(count: int, seq: int) -> list[Point]:
        return [
            point(f"{seq}-{i}.md", " ".join(rng.choice(words, 9)), tuple(rng.normal(size=DIMENSION)), seq_from=seq) for i in range(count)
        ]

    async def ask(seq: int, gaps: frozenset[int]) -> list[list[tuple[object, ...]]]:
        return [_facts(await find(index, seq, gaps, vector=v, text=t, limit=10)) for v, t in questions]

    questions = [(tuple(rng.normal(size=DIMENSION)), " ".join(rng.choice(words, 4))) for _ in range(12)]
    first = some(60, 1)
    await index.insert(NAME, first)
    at_one = await ask(1, frozenset())
    await index.insert(NAME, some(60, 2))
    await index.close_points(NAME, [p.chunk.id for p in first[:20]], 2, ())
    at_two = await ask(2, frozenset())
    await index.insert(NAME, some(60, 3))
    await index.close_points(NAME, [p.chunk.id for p in first[20:40]], 4, ())
    await index.flush(NAME)
    await index.optimise(NAME)
    await index.erase_attempts(NAME, [3])
    assert await ask(1, frozenset()) == at_one
    assert await ask(2, frozenset()) == at_two
    assert await ask(2, frozenset({4})) == at_two


async def test_many_tasks_may_read_and_write_at_once(index: VectorIndex) -> None:
    await index.insert(NAME, [point(f"{i}.md", f"quartz {i}") for i in range(50)])
    before = _facts(await find(index))
    writes = [index.insert(NAME, [point(f"n{i}.md", "quartz", seq_from=2)]) for i in range(10)]
    searches = await asyncio.gather(*(find(index) for _ in range(20)), *writes)
    assert all(_facts(found) == before for found in searches[:20] if found is not None)
    assert await index.opened(NAME, 2) == 10


KEYS = ["year", "lang", 'odd. "key"', "title"]
SCALARS = st.one_of(
    st.booleans(), st.integers(-3, 3), st.sampled_from([0.0, -0.0, 1.0, 2.5, 2.0**53, 2**53, 2**53 + 1, 1e300]), st.sampled_from(["", "1", "en", "True"])
)  # fmt: skip
METADATA = st.dictionaries(st.sampled_from(KEYS), st.one_of(SCALARS, st.lists(st.sampled_from(["", "1", "en"]), max_size=2).map(tuple)))
BOUND = st.none() | st.sampled_from([-1, 0, 0.5, 1, 2.5, 2**53, float("inf")])
FILTER_KEYS = st.sampled_from([*KEYS, "media_type", "path", "never"])
SIMPLE: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Equals, FILTER_KEYS, SCALARS),
    st.builds(OneOf, FILTER_KEYS, st.lists(SCALARS, max_size=3).map(tuple)),
    st.builds(Range, FILTER_KEYS, BOUND, BOUND, BOUND, BOUND),
    st.builds(Exists, FILTER_KEYS, st.booleans()),
    st.builds(PathPrefix, st.sampled_from(["", "a", "a/", "a/b", "A"])),
    st.builds(Equals, st.just("path"), st.sampled_from(["a/1.md", "a"])),
)
CONDITIONS = st.recursive(SIMPLE, lambda inner: st.builds(Not, inner), max_leaves=3)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    documents=st.lists(st.tuples(METADATA, st.none() | st.sampled_from(["", "en", "T"])), min_size=1, max_size=8),
    conditions=st.lists(CONDITIONS, max_size=3),
)
@example(documents=[({"year": -0.0}, None), ({"year": 0}, None), ({"year": False}, None)], conditions=[Equals("year", 0.0)])
@example(documents=[({"year": True}, None), ({"year": 1}, None), ({"year": "1"}, None)], conditions=[OneOf("year", (1.0, "1"))])
@example(documents=[({"year": ()}, None), ({"year": ""}, None), ({}, ""), ({"year": False}, "T")], conditions=[Exists("year")])
@example(documents=[({"year": ()}, None), ({"year": ""}, None), ({}, ""), ({}, "T")], conditions=[Exists("title", present=False)])
async def test_filters_mean_what_the_domain_says(
    index: VectorIndex, documents: list[tuple[Metadata, str | None]], conditions: list[Condition]
) -> None:
    roots = ["a/", "a/b/", "A/", "b"]
    points = [
        point(f"{roots[i % 4]}{i}.md", f"quartz {i}", metadata=metadata, title=title, seq_from=1, media_type=["text/markdown", "text/html"][i % 2])
        for i, (metadata, title) in enumerate(documents)
    ]  # fmt: skip
    filter_ = Filter(tuple(conditions))
    expected = {
        p.chunk.path
        for p in points
        if matches(filter_, {**p.chunk.metadata, "path": p.chunk.path, "media_type": p.chunk.media_type, "title": p.chunk.title})
    }
    await index.insert(NAME, points)
    try:
        assert {c.chunk.path for c in await find(index, filter=filter_)} == expected
    finally:
        await index.erase_attempts(NAME, [1])


def _facts(candidates: list[Found]) -> list[tuple[object, ...]]:
    """Everything but `seq_to`, which later commits move."""
    return [(c.chunk.id, c.chunk.text, c.dense, c.bm25, c.dense_rank, c.bm25_rank) for c in candidates]


async def scanned(index: VectorIndex, page: int = 500) -> list[StoredPoint]:
    found: list[StoredPoint] = []
    while points := await index.scan(NAME, found[-1].id if found else None, page):
        found += points
    return found


async def test_a_scan_gives_every_point_once_whatever_its_validity(index: VectorIndex) -> None:
    points = [point(f"{i}.md", seq_from=1 + i % 9, metadata={"n": i, "tags": ("a",)}, seq_to=(3, OPEN)[i % 2]) for i in range(300)]
    await index.insert(NAME, points)
    found = await scanned(index, 7)
    assert {stored.id: stored.chunk for stored in found} == {p.chunk.id: p.chunk for p in points}
    assert len(found) == 300
    assert [stored.id for stored in found] == [stored.id for stored in await scanned(index)]
    assert all(stored.vector_ok for stored in found)
    assert all(stored.chunk and (stored.seq_from, stored.seq_to) == (stored.chunk.seq_from, stored.chunk.seq_to) for stored in found)


async def test_a_scan_goes_on_after_points_that_were_deleted_meanwhile(index: VectorIndex) -> None:
    await index.insert(NAME, [point(f"{i}.md") for i in range(20)])
    order = [stored.id for stored in await scanned(index)]
    await index.mend(NAME, [], order[5:10], head=1)
    assert [stored.id for stored in await index.scan(NAME, order[7], 3)] == order[10:13]
    assert await index.scan(NAME, order[-1]) == []


async def test_a_vector_of_another_length_than_one_is_told(index: VectorIndex) -> None:
    good, bad = point("good.md"), point("bad.md")
    await index.insert(NAME, [good, Point(bad.chunk, np.zeros(DIMENSION, np.float32))])
    assert {stored.id: stored.vector_ok for stored in await scanned(index)} == {good.chunk.id: True, bad.chunk.id: False}


async def test_mending_writes_over_what_is_there_and_deletes(index: VectorIndex) -> None:
    wrong, doomed, other = point("a.md", "wrong", seq_to=2), point("b.md"), point("c.md")
    await index.insert(NAME, [wrong, doomed, other])
    right = replace(point("a.md", "right", (0, 1), metadata={"n": 1}), chunk=replace(point("a.md", "right").chunk, id=wrong.chunk.id))
    missing = point("d.md", seq_from=5, seq_to=7)
    for _ in range(2):
        await index.mend(NAME, [right, missing], [doomed.chunk.id, "00000000-0000-0000-0000-000000000000", missing.chunk.id], head=9)
        assert {s.id: s.chunk for s in await scanned(index)} == {p.chunk.id: p.chunk for p in (right, missing, other)}
    (found,) = [found for found in await find(index, 2, vector=(0, 1), text="right") if found.chunk.path == "a.md"]
    assert found.dense == pytest.approx(1)
    assert found.bm25 > 0
    await index.mend(NAME, [], [], head=9)


async def test_mending_does_not_reopen_what_a_later_attempt_closed(index: VectorIndex) -> None:
    known = point("a.md")
    await index.insert(NAME, [known])
    await index.close_points(NAME, [known.chunk.id], 4, ())
    await index.mend(NAME, [known], [], head=3)
    assert await index.closed(NAME, 4) == 1
    await index.mend(NAME, [replace(known, chunk=replace(known.chunk, seq_to=2))], [], head=3)
    assert await index.closed(NAME, 2) == 1
    await index.mend(NAME, [known], [], head=4)
    assert await index.closed(NAME, 2) == 0


async def test_mending_with_a_bad_vector_changes_nothing(index: VectorIndex) -> None:
    await index.insert(NAME, [point()])
    with pytest.raises(InternalError):
        await index.mend(
            NAME, [point("new.md"), Point(point("bad.md").chunk, np.ones(DIMENSION + 1, np.float32))], [point().chunk.id], head=1
        )
    assert [stored.id for stored in await scanned(index)] == [point().chunk.id]


async def test_what_groups_may_not_see_is_not_in_their_snapshot_nor_in_its_statistics(index: VectorIndex) -> None:
    open_, hidden = point("open.md", "quartz basalt"), replace(point("hidden.md", "quartz"), groups=frozenset({"hr", "legal"}))
    others = [point(f"{i}.md", "basalt") for i in range(4)]
    await index.insert(NAME, [open_, hidden, *others])

    async def seen(groups: frozenset[str] | None) -> dict[str, float]:
        found = await index.search(NAME, 1, (), vector=unit(1), text="quartz", filter=Filter(), limit=100, exact=True, groups=groups)
        chunks = await index.chunks(NAME, [one.id for one in found])
        read = {chunk.path for chunk in await index.visible(NAME, 1, (), [p.chunk.path for p in (open_, hidden, *others)], groups=groups)}
        assert read == {chunk.path for chunk in chunks.values()}
        assert await index.count_visible(NAME, 1, (), groups=groups) == len(read)
        return {chunks[one.id].path: one.bm25 for one in found}

    everything, nobody, member = await seen(None), await seen(frozenset()), await seen(frozenset({"hr", "other"}))
    assert member == everything
    assert everything.keys() - nobody.keys() == {"hidden.md"}
    await index.erase_path(NAME, "hidden.md", 1)
    assert await seen(None) == nobody  # as if it were not there: its words weigh nothing


async def test_groups_are_set_on_every_point_of_a_document_and_count_at_once(index: VectorIndex) -> None:
    old, new = point("a.md", "old quartz"), point("a.md", "new quartz", seq_from=2)
    await index.insert(NAME, [old, new, point("b.md", "quartz")])
    await index.close_points(NAME, [old.chunk.id], 2, ())

    async def counts(groups: frozenset[str] | None) -> list[int]:
        return [await index.count_visible(NAME, seq, (), groups=groups) for seq in (1, 2)]

    nobody, staff = frozenset[str](), frozenset({"staff"})
    before = await find(index, 2)
    await index.set_groups(NAME, "a.md", staff)
    await index.set_groups(NAME, "never.md", staff)
    assert (await counts(None), await counts(nobody), await counts(staff)) == ([2, 2], [1, 1], [2, 2])
    assert await find(index, 2) == before  # whoever may see everything sees no difference
    assert {stored.chunk.path for stored in await index.scan(NAME) if stored.chunk} == {"a.md", "b.md"}
    await index.set_groups(NAME, "a.md", nobody)
    assert await counts(nobody) == [2, 2]
