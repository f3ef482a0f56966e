"""The cluster tests with nothing cached: Go modules, builds, base system, images."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.cluster import COLD, cluster_tests, phases
from bench.rows import Row, row

_GOFLAGS = "-buildvcs=false -modcacherw"  # a module cache that can be removed


async def rows(data: Path) -> list[Row]:
    """Debian's packages stay installed: `apt-get` has no cache to empty."""
    with tempfile.TemporaryDirectory(prefix="ragstone-cold-", dir=Path.home()) as folder:
        places = {name: f"{folder}/{name.lower()}" for name in ("RAGSTONE_CLUSTER_CACHE", "GOCACHE", "GOMODCACHE")}
        status, minutes, figures = cluster_tests({"RAGSTONE_BENCH_DATA": str(data), "GOFLAGS": _GOFLAGS, **places})
    return [
        row("cluster tests pass from a cold cache", float(status == 0), "share", "==", 1.0),
        row("cluster tests, cold cache", minutes, "minutes", "<=", COLD, 1, phases(figures)),
    ]
