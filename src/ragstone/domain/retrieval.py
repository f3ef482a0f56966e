"""What the index stores and what a search finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ragstone.domain.documents import Metadata, embedded_text
from ragstone.domain.filters import Filter

Vector = NDArray[np.float32]  # (d,), L2-normalised
Vectors = NDArray[np.float32]  # (n, d), each row L2-normalised


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """The payload of a point. `id` is the point's id: UUIDv5(path, content hash, occurrence, seq_from).

    `commit_id` and `checksum` are the commit that introduced it and its document's checksum then (provenance).
    Its validity is `[seq_from, seq_to)`.
    """

    id: str
    path: str
    title: str | None
    heading_path: tuple[str, ...]
    text: str
    start: int
    end: int
    page: int | None
    content_hash: str
    occurrence: int
    media_type: str
    checksum: str
    metadata: Metadata
    commit_id: str
    seq_from: int
    seq_to: int

    @property
    def embedded_text(self) -> str:
        """What was embedded and indexed for BM25."""
        return embedded_text(self.heading_path, self.text)


@dataclass(frozen=True, slots=True)
class Point:
    """One chunk with its dense vector; the index computes the BM25 vector from `chunk.embedded_text`. `groups`: who may see it, empty for everyone."""

    chunk: IndexedChunk
    vector: Vector
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as it lies in the index, damaged or not. `chunk` is None when its payload can't be read or contradicts itself.

    `vector_ok`: the dense vector is of length 1 and the space's dimension, the BM25 vectors are those of the chunk's text (not judged without one).
    `seq_from` and `seq_to` are None where the payload holds no integer of that name.
    """

    id: str
    chunk: IndexedChunk | None
    vector_ok: bool
    seq_from: int | None
    seq_to: int | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that one of the two lists found, by its id. Only the few that are returned are worth reading whole.

    `dense` is the exact cosine. `bm25` is its BM25 score, or 0.0 when the BM25 list did not hold it. Ranks count from 1; None: not in that list.
    """

    id: str
    dense: float
    bm25: float
    dense_rank: int | None
    bm25_rank: int | None


FusionMethod = Literal["convex", "rrf", "dense", "bm25"]


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """How passages are found. `candidates`: length of each of the two lists. `neighbours`: chunks added before and after each hit.

    `rerank`: how many of the best by fused score a reranker reorders before `top_k` cuts; 0: none. `min_score` bounds the fused score, reranked or not.
    """

    top_k: int = 8
    candidates: int = 100
    fusion: FusionMethod = "convex"
    alpha: float = 0.5
    min_score: float = 0.0
    neighbours: int = 0
    rerank: int = 0


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """One search in one collection. `filter` is on document metadata."""

    text: str
    filter: Filter = field(default_factory=Filter)
    settings: RetrievalSettings = field(default_factory=RetrievalSettings)


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved chunk with its scores. `score` is the fused one. `neighbour_of`: id of the hit that it stands beside, None for a hit itself.

    `rerank`: the reranker's score, None where it gave none; higher is better, on the model's own scale.
    """

    chunk: IndexedChunk
    score: float
    rank: int
    dense: float
    bm25: float
    dense_rank: int | None
    bm25_rank: int | None
    neighbour_of: str | None = None
    rerank: float | None = None
