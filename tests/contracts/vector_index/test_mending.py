"""What every vector index promises about scanning and mending."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ragstone.domain.commits import OPEN
from ragstone.domain.errors import InternalError
from ragstone.domain.retrieval import Point
from ragstone.ports.vector_index import VectorIndex
from tests.contracts.vector_index.reading import NAME, find, scanned
from tests.support.points import DIMENSION, point


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
