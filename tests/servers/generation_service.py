"""The generation service as a process of its own, out of `make env-bento` (.venv-bento)."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.embedding_service import MISSING, ROOT, first_line
from tests.servers.reporting import skip_missing

PYTHON = ROOT / ".venv-bento" / "bin" / "python"
_LLAMA = "no xllamacpp in .venv-bento; `make env-bento` puts it there"


def missing() -> str:
    """Why the service with llama.cpp can't run here; empty where it can."""
    if not PYTHON.exists():
        return MISSING
    found = any((ROOT / ".venv-bento" / "lib").glob("python*/site-packages/xllamacpp"))
    return "" if found else _LLAMA


@dataclass(frozen=True, slots=True)
class Service:
    """`facts`: what it says once it answers."""

    url: str
    facts: Mapping[str, Any]
    process: subprocess.Popen[str]


@contextmanager
def serving(directory: Path, variables: Mapping[str, str], *options: str) -> Iterator[Service]:
    """A running service; `variables`: settings without `RAGSTONE_GENERATION_SERVICE__`, or with all of their name. Ended at the end. Skips where it can't run."""
    if why := missing():
        skip_missing("BentoML", why)
    process = start(directory, variables, *options)
    with process:  # closes its output, and waits
        try:
            facts = first_line(process, directory)
            yield Service(facts["url"], facts, process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60.0)
            except subprocess.TimeoutExpired:
                process.kill()


def start(directory: Path, variables: Mapping[str, str], *options: str) -> subprocess.Popen[str]:
    """The process, on a free port; it says when it answers on its standard output, one line of JSON. Its log is in `directory`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAGSTONE_") or name == "RAGSTONE_MODELS"}
    given = {name if name.startswith("RAGSTONE_") else f"RAGSTONE_GENERATION_SERVICE__{name}": value for name, value in variables.items()}
    command = [str(PYTHON), "-m", "ragstone.cli.main", "serve-generation", "--json", "--port", "0", *options]
    with (directory / "service.log").open("ab") as log:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, cwd=directory, env={**own, "PYTHONPATH": str(ROOT / "src"), **given}, text=True
        )
