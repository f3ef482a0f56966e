"""The last words of a run: which servers were used, and what was skipped for want of which."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers.reporting import MISSING, lines

ROOT = Path(__file__).parents[2]


def test_lines_count_what_each_missing_server_cost() -> None:
    reasons = [f"Skipped: {MISSING} Qdrant: no `qdrant` on PATH"] * 2 + [f"Skipped: {MISSING} MLflow: no .venv-mlflow", "Skipped: other"]
    assert lines({"NATS": "2.12.1 (nats-server)"}, reasons, 3) == [
        "used: NATS 2.12.1 (nats-server)",
        "missing: MLflow: no .venv-mlflow; 1 test skipped",
        "missing: Qdrant: no `qdrant` on PATH; 2 tests skipped",
        "not selected: 3 tests of servers that no Python package holds (lakeFS, Qdrant); `make test-servers` runs them",
    ]
    assert lines({}, ["Skipped: other"], 0) == []


def test_a_run_of_several_processes_ends_with_them(tmp_path: Path) -> None:
    tests = ["tests/contracts/test_job_queue.py", "tests/contracts/test_version_store.py"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "1", "-m", "servers or packaged", *tests]
    chosen = ["-k", "(nats and test_a_job) or (lakefs and empty_bytes)"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAGSTONE_TEST_", "PYTEST_", "COV_"))}
    done = subprocess.run(
        [*command, *chosen], cwd=ROOT, env={**environment, "PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    last = done.stdout.partition(" servers ")[2]
    assert "used: NATS 2." in last
    assert "missing: lakeFS: no server at RAGSTONE_TEST_LAKEFS_URL and no `lakefs` on PATH; 1 test skipped" in last
