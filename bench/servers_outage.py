"""Each server in turn stopped under load for 30 s, then back: killed and started again, and frozen.

`RAGSTONE_BENCH_OUTAGE` sets other seconds. The model is a stub; lakeFS and Qdrant take part where their binaries are on PATH.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from bench.rows import Row, row, skipped
from tests.servers import mlflow
from tests.support.outage import Bench, How, Tally, bench

SECONDS = float(os.environ.get("RAGSTONE_BENCH_OUTAGE", "30"))
_WAYS: tuple[How, ...] = ("killed", "hanging")
_MISSING = {
    "lakefs": None if shutil.which("lakefs") else "no `lakefs` on PATH",
    "qdrant": None if shutil.which("qdrant") else "no `qdrant` on PATH",
    "mlflow": None if mlflow.ENVIRONMENT.exists() else "no .venv-mlflow; `make env-mlflow` makes it",
}
_SERVERS = ("mongo", "nats", "generation", "lakefs", "qdrant", "mlflow")


async def rows(data: Path) -> list[Row]:
    """One process of ragstone lives through all of them."""
    there = [name for name in _SERVERS if _MISSING.get(name) is None]
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as home:
        async with bench(Path(home), *(name for name in there if name not in ("mongo", "nats"))) as running:
            for name in there:
                found += [await _outage(running, name, how) for how in _WAYS]
    return found + [skipped(_name(name, "killed"), why, "==", 0) for name, why in _MISSING.items() if why]


async def _outage(running: Bench, name: str, how: How) -> Row:
    tally = await running.outage(name, how, SECONDS, around=2.0)
    failures = len(tally.lost) + len(tally.wrong) + (tally.recovered is None) + (not running.process.alive)
    return row(_name(name, how), failures, "failures", "==", 0, tally.statuses.total() + len(tally.wrong), _told(tally))


def _name(name: str, how: How) -> str:
    return f"outage: {name} {how} for {SECONDS:g} s under load: accepted writes lost, responses but 2xx, 429 and 503 with Retry-After, restarts needed"


def _told(tally: Tally) -> str:
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(tally.statuses.items()))
    recovered = "never well again" if tally.recovered is None else f"well again {tally.recovered:.1f} s after it was back"
    parts = [
        statuses,
        f"{len(tally.accepted)} writes accepted",
        f"{tally.degraded} answers degraded",
        recovered,
        f"slowest {tally.slowest:.1f} s",
    ]
    return "; ".join([*parts, *tally.lost[:2], *tally.wrong[:2]])
