"""Metrics keep to their names and to their registry."""

from __future__ import annotations

from ragstone.telemetry.metrics import Metrics


def test_names_are_ours_and_two_sets_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.answered({"search": 1.5, "total": 20.0}, "deferred", abstained=True)
    names = {metric.name for metric in first.registry.collect()}
    assert all(name.startswith("ragstone_") for name in names)
    text = first.exposition()[0].decode()
    assert 'ragstone_answers_total{outcome="abstained"} 1.0' in text
    assert 'ragstone_query_phase_duration_seconds_sum{phase="search"} 0.0015' in text
    assert "abstained" not in second.exposition()[0].decode()
