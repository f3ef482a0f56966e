"""What a scan of Qdrant Edge says of points that were damaged behind ragstone's back."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest
from qdrant_edge import EdgeShard, Point, SparseVector, UpdateOperation

from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.domain.retrieval import StoredPoint
from tests.support.points import DIMENSION, point, space

NAME = "kb-1-space"
GOOD = point("a.md", "quartz and basalt", metadata={"n": 3}, heading_path=("A",))


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    index = QdrantEdgeIndex(tmp_path / "index")
    await index.create(NAME, space())
    await index.insert(NAME, [GOOD])
    await index.aclose()
    return tmp_path / "index"


async def damaged(folder: Path, operation: UpdateOperation) -> list[StoredPoint]:
    """The scan after the engine was given `operation`; then mending must bring the point back."""
    shard = EdgeShard.load(str(folder / NAME / "g1"))
    shard.update(operation)
    shard.close()
    index = QdrantEdgeIndex(folder)
    found = await index.scan(NAME)
    await index.mend(NAME, [GOOD], [stored.id for stored in found], head=9)
    (mended,) = await index.scan(NAME)
    assert (mended.chunk, mended.vector_ok) == (GOOD.chunk, True)
    await index.aclose()
    return found


@pytest.mark.parametrize(
    "payload",
    [{"text": 5}, {"metadata": "{"}, {"metadata": '{"n": 4}'}, {"facets": []}, {"seq_to": "soon"}, {"heading_path": [1]}, {"numbers": 3}],
)
async def test_a_payload_that_contradicts_itself_is_no_chunk(folder: Path, payload: dict[str, object]) -> None:
    (stored,) = await damaged(folder, UpdateOperation.set_payload([uuid.UUID(GOOD.chunk.id)], payload))
    assert stored.chunk is None
    assert (stored.seq_from, stored.seq_to is None) == (1, "seq_to" in payload)


async def test_another_text_is_still_a_chunk_but_its_vectors_are_not_its_own(folder: Path) -> None:
    (stored,) = await damaged(folder, UpdateOperation.set_payload([uuid.UUID(GOOD.chunk.id)], {"text": "granite"}))
    assert stored.chunk is not None
    assert stored.chunk.text == "granite"
    assert not stored.vector_ok


@pytest.mark.parametrize(
    "vectors",
    [
        {"dense": np.zeros(DIMENSION, np.float32)},
        {"dense": np.ones(DIMENSION, np.float32)},
        {"dense": np.ones(DIMENSION, np.float32), "bm25": SparseVector([1], [1.0]), "terms": SparseVector([1], [1.0])},
    ],
    ids=["zeros", "no BM25", "another's BM25"],
)
async def test_lost_and_foreign_vectors_are_told(folder: Path, vectors: dict[str, object]) -> None:
    shard = EdgeShard.load(str(folder / NAME / "g1"))
    payload = shard.retrieve([GOOD.chunk.id], True, False)[0].payload
    shard.close()
    operation = UpdateOperation.upsert_points([Point(uuid.UUID(GOOD.chunk.id), vectors, payload)])  # type: ignore[arg-type]
    (stored,) = await damaged(folder, operation)
    assert stored.chunk == GOOD.chunk
    assert not stored.vector_ok


async def test_a_point_with_a_number_for_an_id_can_be_read_past_and_deleted(folder: Path) -> None:
    foreign = UpdateOperation.upsert_points([Point(7, {"dense": [1.0] * DIMENSION}, {"a": 1})])
    found = await damaged(folder, foreign)
    assert [(stored.id, stored.chunk is None, stored.seq_from) for stored in found] == [("7", True, None), (GOOD.chunk.id, False, 1)]
