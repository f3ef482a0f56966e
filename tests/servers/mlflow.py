"""An MLflow server for tests: the one at RAGSTONE_TEST_MLFLOW_URL, else that of `make env-mlflow` (.venv-mlflow)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.servers.nats import free_port
from tests.servers.reporting import skip_missing, used

ENVIRONMENT = Path(__file__).parents[2] / ".venv-mlflow" / "bin" / "mlflow"
_PATIENCE = 300.0  # seconds: the server imports a lot, which takes minutes on a busy machine


@contextmanager
def serving(directory: Path, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server's URL and its process, ended at the end; SQLite and files in `directory`."""
    if not ENVIRONMENT.exists():
        skip_missing("MLflow", "no server at RAGSTONE_TEST_MLFLOW_URL and no .venv-mlflow; `make env-mlflow` makes it")
    port = port or free_port()
    command = [str(ENVIRONMENT), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    storage = ["--backend-store-uri", f"sqlite:///{directory}/mlflow.db", "--artifacts-destination", str(directory / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("PYTHONPATH", None)
    with (directory / "mlflow.log").open("ab") as log:
        process = subprocess.Popen([*command, *storage], stdout=log, stderr=log, cwd=directory, env=environment, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        _answers(url, process)
        yield url, process
    finally:
        with suppress(ProcessLookupError):  # a test has killed them
            os.killpg(process.pid, signal.SIGTERM)  # its workers are processes of their own
        process.wait(_PATIENCE)


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Shared; a test isolates itself by a prefix of its own."""
    if url := os.environ.get("RAGSTONE_TEST_MLFLOW_URL"):
        used("MLflow", version(url), "RAGSTONE_TEST_MLFLOW_URL")
        yield url
        return
    with serving(tmp_path_factory.mktemp("mlflow")) as (url, _):
        used("MLflow", version(url), ".venv-mlflow")
        yield url


def version(url: str) -> str:
    """What the server says."""
    with urllib.request.urlopen(f"{url}/version", timeout=30.0) as answer:
        return str(answer.read().decode())


def _answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5.0):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the MLflow server did not start; see its mlflow.log")
