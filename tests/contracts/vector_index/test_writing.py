"""What every vector index promises about indexes and the points that are written to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragstone.domain.commits import OPEN, visible
from ragstone.domain.errors import InternalError, NotFound
from ragstone.domain.filters import Filter
from ragstone.domain.retrieval import Point
from ragstone.ports.vector_index import VectorIndex
from tests.contracts.vector_index.reading import NAME, find, paths_at
from tests.support.points import DIMENSION, point, space, unit


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
