"""From two lists of candidates to one ranking."""

from __future__ import annotations

from collections.abc import Sequence

from ragstone.domain.retrieval import Candidate, RetrievalSettings

RRF_K = 60  # Cormack, Clarke and Buettcher (SIGIR 2009), who found ranks from 60 on to matter little


def fuse(candidates: Sequence[Candidate], settings: RetrievalSettings) -> list[tuple[Candidate, float]]:
    """Candidates with their fused scores, best first, equal scores in order of chunk id.

    - `convex`: alpha * dense / max(dense) + (1 - alpha) * bm25 / max(bm25), over all candidates; at most 1. A convex combination of
      normalised scores (Bruch, Gai and Ingber, ACM TOIS 2023) with the maximum as the only statistic, and 0 where it always was:
      a negative cosine counts as 0, and a list whose maximum is 0 adds nothing.
    - `rrf`: the sum over the lists of 1 / (60 + rank).
    - `dense`, `bm25`: the candidates of that list, by its own score (the cosine; BM25).
    """
    match settings.fusion:
        case "convex":
            scored = _convex(candidates, settings.alpha)
        case "rrf":
            scored = [(candidate, _reciprocal(candidate.dense_rank) + _reciprocal(candidate.bm25_rank)) for candidate in candidates]
        case "dense":
            scored = [(candidate, candidate.dense) for candidate in candidates if candidate.dense_rank is not None]
        case "bm25":
            scored = [(candidate, candidate.bm25) for candidate in candidates if candidate.bm25_rank is not None]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0].id))


def _convex(candidates: Sequence[Candidate], alpha: float) -> list[tuple[Candidate, float]]:
    dense = [candidate.dense if candidate.dense > 0 else 0.0 for candidate in candidates]
    bm25 = [candidate.bm25 if candidate.bm25 > 0 else 0.0 for candidate in candidates]
    best_dense, best_bm25 = max(dense, default=0.0) or 1.0, max(bm25, default=0.0) or 1.0
    return [
        (candidate, alpha * (d / best_dense) + (1 - alpha) * (b / best_bm25))
        for candidate, d, b in zip(candidates, dense, bm25, strict=True)
    ]


def _reciprocal(rank: int | None) -> float:
    return 0.0 if rank is None else 1 / (RRF_K + rank)
