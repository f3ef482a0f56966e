"""BM25 without rounding: weights, sums and statistics."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.adapters.qdrant_edge_bm25 import Bm25Encoder, SnapshotStatistics, frequency_from_idf
from ragstone.domain.spaces import Bm25Settings

ENCODER = Bm25Encoder(Bm25Settings())


def test_weights_are_bm25_s_to_the_256th() -> None:
    text = "quartz quartz basalt"
    weights, terms = ENCODER.document(text)
    norm = 1.2 * (1 - 0.75 + 0.75 * 3 / 128)
    expected = sorted(round(tf * 2.2 / (tf + norm) * 256) / 256 for tf in (1, 2))
    assert sorted(weights.values) == pytest.approx(expected)
    assert all(value * 256 == int(value * 256) for value in weights.values)
    assert terms.indices == weights.indices
    assert set(terms.values) == {1.0}


def test_no_term_is_rounded_away() -> None:
    weights, _ = ENCODER.document("quartz " + "basalt " * 60_000)
    assert min(weights.values) > 0


@settings(max_examples=25, deadline=None)
@given(st.one_of(st.integers(1, 60), st.just(600)), st.integers(1, 10**6), st.randoms(use_true_random=False))
def test_sums_in_float32_do_not_depend_on_their_order(words: int, total: int, rng: random.Random) -> None:
    text = " ".join(f"word{i}" for i in range(words))
    weights, _ = ENCODER.document(text + " word1" * rng.randrange(40))
    weight_of = dict(zip(weights.indices, weights.values, strict=True))
    question = ENCODER.question(text, lambda terms: (total, [rng.randint(1, total) for _ in terms]))
    assert question is not None
    products = [np.float32(weight) * np.float32(weight_of[term]) for term, weight in zip(question.indices, question.values, strict=True)]
    sums = set()
    for _ in range(4):
        rng.shuffle(products)
        partial = np.float32(0)
        for product in products:
            partial += product
        sums.add(float(partial))
    assert sums == {math.fsum(float(np.float64(product)) for product in products)}


def test_words_that_no_point_holds_are_left_out() -> None:
    counts = iter([(10, [0, 3]), (10, [0, 0])])
    question = ENCODER.question("quartz basalt", lambda _: next(counts))
    assert question is not None
    assert len(question.indices) == 1
    assert question.values[0] == pytest.approx(math.log(11 / 3.5), abs=2**-10)
    assert ENCODER.question("quartz basalt", lambda _: next(counts)) is None
    assert ENCODER.question("the ?!", lambda _: pytest.fail("nothing to ask")) is None


@given(st.integers(1, 10**6).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total))))
def test_a_frequency_is_found_again_from_its_float32_idf(case: tuple[int, int]) -> None:
    total, n = case
    idf = np.log(np.float32(1) + (np.float32(total) - np.float32(n) + np.float32(0.5)) / (np.float32(n) + np.float32(0.5)))
    assert frequency_from_idf(float(np.float32(idf)), total) == n


def test_statistics_are_kept_a_snapshot_and_forgotten_by_writes_that_it_could_see() -> None:
    statistics = SnapshotStatistics()
    statistics.start(3, {2}, None, 10).of_term[7] = 4
    statistics.start(5, (), None, 12)
    statistics.forget_from(4)
    known = statistics.get(3, frozenset({2}), None)
    assert known is not None
    assert (known.total, known.of_term) == (10, {7: 4})
    assert statistics.get(3, (), None) is None
    assert statistics.get(3, {2}, frozenset({"staff"})) is None
    assert statistics.get(5, (), None) is None


def test_statistics_of_old_snapshots_make_room() -> None:
    statistics = SnapshotStatistics()
    for seq in range(100):
        statistics.start(seq, (), None, seq)
    assert statistics.get(0, (), None) is None
    assert statistics.get(99, (), None) is not None
