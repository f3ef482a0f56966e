"""The cluster tests on what is cached: that they pass, how long they take, and the figures that they record."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.rows import Op, Row, row
from tests.cluster.figures import Figures, recorded

WARM, COLD = 12.0, 45.0  # minutes


async def rows(data: Path) -> list[Row]:
    """Needs root, Debian's packages and Go, or a cluster that RAGSTONE_CLUSTER names."""
    status, minutes, figures = cluster_tests({"RAGSTONE_BENCH_DATA": str(data)})
    request = figures.get("memory request of the pod")
    return [
        row("cluster tests pass", float(status == 0), "share", "==", 1.0, 1, "make test-cluster, exit status"),
        row("cluster tests, warm cache", minutes, "minutes", "<=", WARM, 1, phases(figures)),
        figure(figures, "first answer after helm install", "s", "<=", 60.0, name="first answer through the ingress after helm install, small profile"),
        figure(figures, "outage, upgrade", "s", "<=", 30.0),
        figure(figures, "outage, helm rollback", "s", "<=", 30.0),
        figure(figures, "outage, pod killed during ingest", "s", "<=", 30.0),
        figure(figures, "state after the kills equals a clean run", "share", "==", 1.0),
        figure(figures, "working set of the pod, most", "MiB", "<=", request[0] if request else float("nan")),
        figure(figures, "memory request of the pod", "MiB", "<=", 1024.0),
        row("manifests that the API server refuses", _refused(figures), "manifests", "==", 0.0, int(_taken(figures)), "server-side dry run, all profiles and CI values"),
        figure(figures, "left behind by the cluster", "things", "==", 0.0),
    ]  # fmt: skip


def cluster_tests(environment: dict[str, str], *options: str) -> tuple[int, float, Figures]:
    """Exit status, minutes and figures of one whole run. `options`: pytest's, for a part of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures"
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "tests.cluster", "test", *options],
            env={**os.environ, **environment, "RAGSTONE_CLUSTER_FIGURES": str(file)},
            stdout=sys.stderr,
            check=False,
        )
        return done.returncode, (time.monotonic() - began) / 60, recorded(file)


def phases(figures: Figures) -> str:
    """Seconds by phase, in one line."""
    return ", ".join(f"{name.removeprefix('phase ')} {value:.0f} s" for name, (value, _) in figures.items() if name.startswith("phase "))


def figure(figures: Figures, key: str, unit: str, op: Op, bar: float, *, name: str = "") -> Row:
    """A figure that no test recorded never holds."""
    value, note = figures.get(key, (float("nan"), "not measured: its test did not get so far"))
    return row(name or key, value, unit, op, bar, 1, note)


def _taken(figures: Figures) -> float:
    return sum(value for name, (value, _) in figures.items() if name.startswith("manifests taken"))


def _refused(figures: Figures) -> float:
    return sum(value for name, (value, _) in figures.items() if name.startswith("manifests refused")) if _taken(figures) else float("nan")
