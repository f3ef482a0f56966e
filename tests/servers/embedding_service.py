"""The embedding service as a process of its own, out of `make env-bento` (.venv-bento)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from tests.servers.reporting import skip_missing, used
from tests.support.tiny_cross_encoder import make_cross_encoder
from tests.support.tiny_encoder import make_encoder

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv-bento" / "bin" / "ragstone"
MISSING = "no .venv-bento; `make env-bento` makes it"
_PATIENCE = 300.0  # seconds: BentoML imports a lot, which takes minutes on a busy machine


@dataclass(frozen=True, slots=True)
class Service:
    """`facts`: what it says once it answers."""

    url: str
    facts: Mapping[str, Any]
    directory: Path
    process: subprocess.Popen[str]


@pytest.fixture(scope="session")
def embedding_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Shared by all: a tiny encoder, `tiny`, with prefixes, and a tiny cross-encoder, `cross`; both lie in its `directory`."""
    directory = tmp_path_factory.mktemp("embedding-service")
    make_encoder(directory / "tiny", pooling="cls", prompts={"query": "query: ", "passage": "passage: "})
    make_cross_encoder(directory / "cross")
    variables = {
        "RAGSTONE_MODEL": str(directory / "tiny"),
        "RAGSTONE_RERANKER__KIND": "onnx",
        "RAGSTONE_RERANKER__MODEL": str(directory / "cross"),
    }
    with serving(directory, variables, "--management-port", "0") as service:
        used("BentoML", service.facts["version"], ".venv-bento")
        yield service


@contextmanager
def serving(directory: Path, variables: Mapping[str, str], *options: str) -> Iterator[Service]:
    """A running service with these settings; its log is in `directory`. Ended at the end. Skips where there is no environment for it."""
    if not PROGRAM.exists():
        skip_missing("BentoML", MISSING)
    process = start(directory, variables, *options)
    try:
        facts = first_line(process, directory)
        yield Service(facts["url"], facts, directory, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def start(directory: Path, variables: Mapping[str, str], *options: str) -> subprocess.Popen[str]:
    """The process, on a free port; it says when it answers on its standard output, one line of JSON."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAGSTONE_") or name == "RAGSTONE_MODELS"}
    environment = {**own, "PYTHONPATH": str(ROOT / "src"), **variables}
    command = [str(PROGRAM), "serve-embedding", "--json", "--port", "0", *options]
    with (directory / "service.log").open("ab") as log:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=directory, env=environment, text=True)


def first_line(process: subprocess.Popen[str], directory: Path) -> dict[str, Any]:
    """What it says once it answers. Raises with its log when it ends before."""
    killer = threading.Timer(_PATIENCE, process.kill)
    killer.start()
    stream: IO[str] | None = process.stdout
    assert stream is not None
    line = stream.readline()
    killer.cancel()
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        with stream:
            said = line + stream.read()
        raise RuntimeError(said + (directory / "service.log").read_text()[-3000:]) from None
    return found
