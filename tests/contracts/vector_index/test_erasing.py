"""What every vector index promises about erasing and compacting."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragstone.domain.commits import OPEN
from ragstone.domain.filters import Equals, Filter, Range
from ragstone.ports.vector_index import VectorIndex
from tests.contracts.vector_index.reading import NAME, facts, find
from tests.support.points import DIMENSION, point


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
    assert facts(await find(index, 1)) == facts(at_one)
    assert facts(await find(index, 3, gaps)) == facts(at_three)
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
    before = [facts(await find(index, seq, gaps)) for seq in kept]
    condemned = [c.id for c in (p.chunk for p in points) if c.seq_from > after and c.seq_to <= until and c.seq_to not in gaps]
    assert await index.count_range(NAME, after, until, gaps) == len(condemned)
    assert await index.erase_range(NAME, after, until, gaps) == len(condemned)
    assert (await index.chunks(NAME, [p.chunk.id for p in points])).keys() == {p.chunk.id for p in points} - set(condemned)
    assert [facts(await find(index, seq, gaps)) for seq in kept] == before
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
            facts(
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
