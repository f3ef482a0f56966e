"""BM25 whose scores depend on a snapshot alone: Edge's encoder, document frequencies of the snapshot, sums without rounding.

Edge's own IDF would do for the statistics (`IdfParams`), but it adds floats in an order that changes when segments are rebuilt, and then
equal questions give scores that differ in the last digits. Here document weights are multiples of 2^-8 and the question's weights
of a power of two fine enough for a sum below 2^24 steps: every partial sum is exact in float32, so the order does not matter (ADR 0006).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from qdrant_edge import Bm25, Bm25Config, SparseVector

from ragstone.domain.errors import InvalidInput
from ragstone.domain.spaces import Bm25Settings

_DOCUMENT_BITS = 8
_FLOAT32_BITS = 24
_FINEST_IDF_BITS = 10
_SNAPSHOTS_KEPT = 64


class DocumentFrequencies(Protocol):
    """How many points of a snapshot there are (`total`), and how many of them hold each term."""

    def __call__(self, terms: Sequence[int]) -> tuple[int, list[int]]: ...


@dataclass(slots=True)
class KnownFrequencies:
    """Of one snapshot: its number of points, and the document frequencies of the terms asked for so far."""

    total: int
    of_term: dict[int, int] = field(default_factory=dict)


class SnapshotStatistics:
    """Document frequencies of the snapshots last asked for, as each set of groups sees them. Only a change of groups changes a published one's."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, frozenset[int], frozenset[str] | None], KnownFrequencies] = {}

    def get(self, seq: int, gaps: Collection[int], groups: frozenset[str] | None) -> KnownFrequencies | None:
        """What is known of the snapshot."""
        return self._known.get((seq, frozenset(gaps), groups))

    def start(self, seq: int, gaps: Collection[int], groups: frozenset[str] | None, total: int) -> KnownFrequencies:
        """Begins to keep the frequencies of a snapshot; the oldest kept makes room."""
        while len(self._known) >= _SNAPSHOTS_KEPT:
            del self._known[next(iter(self._known))]
        return self._known.setdefault((seq, frozenset(gaps), groups), KnownFrequencies(total))

    def forget_from(self, seq: int) -> None:
        """A write of attempt `seq` can be seen by no published snapshot, but by unpublished ones from `seq` on."""
        for key in [key for key in self._known if key[0] >= seq]:
            del self._known[key]


class Bm25Encoder:
    """Texts to sparse vectors. `terms` have 1.0 for every term: what document frequencies are counted by."""

    def __init__(self, settings: Bm25Settings) -> None:
        try:
            self._bm25 = Bm25(Bm25Config(k=settings.k1, b=settings.b, avg_len=settings.average_length, language=settings.language))
        except ValueError as error:
            raise InvalidInput(f"language: {error}; use the English name of a language such as 'english'.", field="language") from None
        self._heaviest = settings.k1 + 1

    def document(self, text: str) -> tuple[SparseVector, SparseVector]:
        """(weights, terms) of a chunk: tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average_length)), to 2^-8."""
        encoded = self._bm25.embed_document(text)
        step = 1 << _DOCUMENT_BITS
        weights = [max(round(value * step), 1) / step for value in encoded.values]
        return SparseVector(encoded.indices, weights), SparseVector(encoded.indices, [1.0] * len(weights))

    def terms(self, text: str) -> list[int]:
        """What a question is about: the terms whose frequencies `question` asks for, each once, in order."""
        return sorted(self._bm25.embed_query(text).indices)

    def question(self, text: str, frequencies: DocumentFrequencies) -> SparseVector | None:
        """The question weighted by ln(1 + (N - n + .5) / (n + .5)) of its snapshot, or None when no point holds any of its terms."""
        terms = self.terms(text)
        if not terms:
            return None
        total, counts = frequencies(terms)
        held = [(term, math.log((total + 1) / (n + 0.5))) for term, n in zip(terms, counts, strict=True) if n]
        if not held:
            return None
        highest = self._heaviest * math.fsum(idf for _, idf in held)
        bits = min(_FINEST_IDF_BITS, _FLOAT32_BITS - _DOCUMENT_BITS - 1 - math.ceil(math.log2(max(highest, 1.0))))
        step = 2.0**bits
        return SparseVector([term for term, _ in held], [max(round(idf * step), 1) / step for _, idf in held])


def frequency_from_idf(idf: float, total: int) -> int:
    """The n of idf = ln((total + 1) / (n + .5)). Edge gives the IDF in float32, which pins n down to the unit for total up to about 10^6."""
    return round((total + 1) / math.exp(idf) - 0.5)
