"""Fusion of the dense and the BM25 list."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.fusion import fuse
from ragstone.domain.retrieval import Candidate, FusionMethod, RetrievalSettings


def candidate(id_: str, dense: float = 0.0, bm25: float = 0.0, dense_rank: int | None = None, bm25_rank: int | None = None) -> Candidate:
    return Candidate(id_, dense, bm25, dense_rank, bm25_rank)


def fused(candidates: list[Candidate], method: FusionMethod = "convex", alpha: float = 0.5) -> list[tuple[str, object]]:
    settings = replace(RetrievalSettings(), fusion=method, alpha=alpha)
    return [(c.id, pytest.approx(score)) for c, score in fuse(candidates, settings)]


BOTH = [candidate("a", 0.8, 0.0, 1, None), candidate("b", 0.4, 10.0, None, 1), candidate("c", 0.6, 5.0, 2, 2)]


def test_convex_weighs_each_score_by_its_list_s_maximum() -> None:
    assert fused(BOTH) == [("b", 0.75), ("c", 0.625), ("a", 0.5)]
    assert fused(BOTH, alpha=0.9) == [("a", 0.9), ("c", 0.9 * 0.75 + 0.1 * 0.5), ("b", 0.9 * 0.5 + 0.1)]


def test_convex_counts_a_negative_cosine_as_zero() -> None:
    assert fused([candidate("a", -0.5, 2.0), candidate("b", 0.5, 0.0)]) == [("a", 0.5), ("b", 0.5)]


def test_convex_without_any_positive_score_gives_zeros() -> None:
    assert fused([candidate("b", -0.1), candidate("a", 0.0)]) == [("a", 0.0), ("b", 0.0)]


def test_rrf_adds_reciprocal_ranks() -> None:
    assert fused(BOTH, "rrf") == [("c", 2 / 62), ("a", 1 / 61), ("b", 1 / 61)]


def test_single_lists_leave_the_other_s_candidates_out() -> None:
    assert fused(BOTH, "dense") == [("a", 0.8), ("c", 0.6)]
    assert fused(BOTH, "bm25") == [("b", 10.0), ("c", 5.0)]


def test_nothing_found_fuses_to_nothing() -> None:
    for method in ("convex", "rrf", "dense", "bm25"):
        assert fused([], method) == []


@given(st.permutations([candidate(id_, 0.5, 1.0, 1, 1) for id_ in "abcd"]))
def test_equal_scores_are_in_order_of_id(candidates: list[Candidate]) -> None:
    for method in ("convex", "rrf", "dense", "bm25"):
        assert [id_ for id_, _ in fused(candidates, method)] == ["a", "b", "c", "d"]


def test_two_hundred_candidates_cost_well_under_a_millisecond() -> None:
    candidates = [candidate(f"{i:03}", i / 200, (i * 7) % 200, i, i) for i in range(200)]
    times = []
    for _ in range(20):
        began = time.perf_counter()
        fuse(candidates, RetrievalSettings())
        times.append(time.perf_counter() - began)
    assert min(times) < 0.001
