"""The dev profile on the test cluster: the figures that test_dev_profile.py and test_model_services.py record. Needs what those tests need (tests/cluster/README.md)."""

from __future__ import annotations

from pathlib import Path

from bench.cluster import cluster_tests, figure
from bench.rows import Op, Row, skipped
from tests.cluster.bed import LocalBed, choose
from tests.cluster.images import stores
from tests.cluster.layout import Layout

FIGURES: tuple[tuple[str, str, Op, float], ...] = (
    ("dev profile: Ready after install", "s", "<=", 120.0),
    ("dev profile: memory requests, sum", "MiB", "<=", 4096.0),
    ("dev profile: CPU requests, sum", "cores", "<=", 1.5),
    ("dev profile: working set against request, the fullest pod", "x", "<=", 1.0),
    ("dev profile: failed queries, helm upgrade", "queries", "==", 0.0),
    ("dev profile: failed queries, rolling restart", "queries", "==", 0.0),
    ("dev profile: failed queries, rolling restart of the embedding service", "queries", "==", 0.0),
    ("dev profile: processes that hold the embedding model", "processes", "==", 1.0),
    ("dev profile: state after killed workers equals a clean run", "share", "==", 1.0),
    ("dev profile: answers of a restored namespace equal those before", "share", "==", 1.0),
)


async def rows(data: Path) -> list[Row]:
    """One run of the tests of the dev profile and its model services."""
    lacking = stores.missing()
    if lacking and isinstance(choose(Layout.default()), LocalBed):
        why = f"no {', '.join(lacking)} on PATH, of which the cluster's images are made"
        return [skipped(name, why, op, bar) for name, _, op, bar in FIGURES]
    _, _, figures = cluster_tests({"RAGSTONE_BENCH_DATA": str(data)}, "-k", "test_dev_profile or test_model_services")
    return [figure(figures, name, unit, op, bar) for name, unit, op, bar in FIGURES]
