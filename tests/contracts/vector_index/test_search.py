"""What every vector index promises about reading and searching a snapshot."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ragstone.domain.documents import Metadata
from ragstone.domain.filters import Condition, Equals, Exists, Filter, Not, OneOf, PathPrefix, Range, matches
from ragstone.domain.retrieval import Point
from ragstone.ports.vector_index import VectorIndex
from tests.contracts.vector_index.reading import NAME, facts, find
from tests.support.points import DIMENSION, point, unit


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
        return [facts(await find(index, seq, gaps, vector=v, text=t, limit=10)) for v, t in questions]

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
    before = facts(await find(index))
    writes = [index.insert(NAME, [point(f"n{i}.md", "quartz", seq_from=2)]) for i in range(10)]
    searches = await asyncio.gather(*(find(index) for _ in range(20)), *writes)
    assert all(facts(found) == before for found in searches[:20] if found is not None)
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
