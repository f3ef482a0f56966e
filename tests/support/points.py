"""Points for tests of the vector index."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ragstone.domain.commits import OPEN
from ragstone.domain.documents import content_hash
from ragstone.domain.retrieval import IndexedChunk, Point, Vector
from ragstone.domain.spaces import Bm25Settings, ChunkerSettings, EmbeddingSpace, ModelIdentity

DIMENSION = 4


def space(dimension: int = DIMENSION) -> EmbeddingSpace:
    """An embedding space of a model that does not exist."""
    return EmbeddingSpace(ModelIdentity("test", "1", "0" * 64, dimension, "mean", 256), (), ChunkerSettings(), Bm25Settings())


def unit(*numbers: float) -> Vector:
    """The direction of `numbers`, filled up with zeros."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.linalg.norm(vector)


def point(
    path: str = "a.md", text: str = "quartz", vector: Sequence[float] = (1,), *, seq_from: int = 1, start: int = 0, **fields: Any
) -> Point:
    """A point whose id is made as the write path makes it."""
    hashed = content_hash((), text)
    occurrence = fields.pop("occurrence", 0)
    metadata: Mapping[str, Any] = fields.pop("metadata", {})
    chunk = IndexedChunk(
        id=fields.pop("id", str(uuid.uuid5(uuid.NAMESPACE_URL, f"{path}|{hashed}|{occurrence}|{start}|{seq_from}"))),
        path=path,
        title=fields.pop("title", None),
        heading_path=fields.pop("heading_path", ()),
        text=text,
        start=start,
        end=start + len(text),
        page=fields.pop("page", None),
        content_hash=hashed,
        occurrence=occurrence,
        media_type=fields.pop("media_type", "text/markdown"),
        checksum="c" * 64,
        metadata=metadata,
        commit_id=f"commit-{seq_from}",
        seq_from=seq_from,
        seq_to=fields.pop("seq_to", OPEN),
    )
    assert not fields, f"unknown {fields}"
    return Point(chunk, unit(*vector))
