"""Crashes of the write path: the matrix of failpoints, random kills, writers that wake up late. `python -m tests.crash` runs them.

They fork, so they run in a process of their own, which has no threads: these functions start it and give what it measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from tests.crash.results import KillResult, MatrixResult, RefillResult, ZombieResult

_ROOT = Path(__file__).parents[2]


def run_matrix(chosen: Literal["all", "sample", "few"] = "all") -> MatrixResult:
    """Every cell of the crash matrix; of `sample` about a twelfth of them, in which every failpoint fires; of `few` about ten, in which every port is there."""
    measured = _run("matrix", *([] if chosen == "all" else [f"--{chosen}"]))
    return MatrixResult(**{**measured, "names": frozenset(measured["names"]), "failures": tuple(measured["failures"])})


def run_kills(seed: int, kills: int) -> KillResult:
    """Random kills, the script of which is made from `seed`."""
    measured = _run("kills", "--seed", str(seed), "--kills", str(kills))
    return KillResult(**{**measured, "notes": tuple(measured["notes"])})


def run_refills(seed: int, kills: int) -> RefillResult:
    """Kills of a process that fills a space; when, is made from `seed`."""
    measured = _run("refills", "--seed", str(seed), "--kills", str(kills))
    return RefillResult(**{**measured, "notes": tuple(measured["notes"])})


def run_zombie() -> ZombieResult:
    """Writers that wake up after two commits more were published."""
    measured = _run("zombie")
    return ZombieResult(**{**measured, "notes": tuple(measured["notes"])})


def _run(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.crash", *arguments, "--json"]
    paths = os.pathsep.join([str(_ROOT), str(_ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}  # no threads before the forks
    done = subprocess.run(command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured
