"""`ragstone` as people run it: real processes, the real model, with and without a running owner of the data directory."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

HANDBOOK = Path(__file__).parents[2] / "examples" / "handbook"
PROGRAM = (sys.executable, "-m", "ragstone.cli.main")
WITHIN = 180  # seconds for one command; the first may fetch the model
_BYTECODE = tempfile.TemporaryDirectory(prefix="ragstone-tests-")
QUESTION = "Above which wind speed does Petrel not sail?"
pytestmark = pytest.mark.xdist_group("e2e-cli")  # one data directory is shared, and two cores are enough for one server


@dataclass
class Ran:
    """A finished process."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Demo:
    """What the demo printed, and its data directory."""

    home: Path
    runs: list[Ran]


def environment() -> dict[str, str]:
    """This one, without settings of ragstone's; the model cache is kept."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAGSTONE_") or name.startswith("RAGSTONE_MODELS")}
    if kept.pop("PYTHONDONTWRITEBYTECODE", None):  # compiling everything anew would be most of each process's time
        kept["PYTHONPYCACHEPREFIX"] = _BYTECODE.name
    return kept


def run(*arguments: str, cwd: Path | None = None) -> Ran:
    """Runs one command to its end."""
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=WITHIN, env=environment(), cwd=cwd, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def up(home: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A running `ragstone up` on a free port, and its address; stopped at the end."""
    command = [*PROGRAM, "--data-dir", str(home), "up", "--json", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # comes when it is ready
            assert line, process.stderr.read() if process.stderr else ""
            yield json.loads(line)["url"], process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run twice in an empty directory."""
    directory = tmp_path_factory.mktemp("demo")
    shutil.copytree(HANDBOOK, directory / "examples" / "handbook")
    runs = [run("demo", cwd=directory) for _ in range(2)]
    return Demo(directory / ".ragstone-demo", runs)


READS: Sequence[tuple[str, ...]] = (
    ("search", QUESTION, "-c", "handbook", "--explain", "--top-k", "3"),
    ("ask", QUESTION, "-c", "handbook"),
    ("ask", QUESTION, "-c", "handbook", "--as-of", "v1", "--stream", "--json"),
    ("show", "0123456789", "-c", "handbook", "--json"),
)


def stable(text: str) -> str:
    """Without what differs from run to run: the interaction's id, timings, the request's id."""
    text = re.sub(r"interaction \S+|\"(request_)?id\": \"[0-9a-z-]{26,36}\"", "ID", text)
    return re.sub(r"\"timings\": \{[^}]*\}", "TIMINGS", text)


def test_the_demo_shows_answers_of_two_commits_and_embeds_nothing_when_run_again(demo: Demo) -> None:
    for ran in demo.runs:
        assert (ran.status, ran.err.count("ragstone:")) == (0, 0), ran.err
        for words in ("34 knots", "38 knots", "90 days", "fixed carbon dioxide", "14 documents differ", "/docs"):
            assert words in ran.out
    first, second = (ran.out for ran in demo.runs)
    assert "Documents: 19 added, 0 changed, 0 removed." in first
    assert "Documents: 3 added, 9 changed, 2 removed." in first
    assert second.count("Unchanged since an earlier run") == 2


def test_commands_print_the_same_with_and_without_a_running_owner(demo: Demo) -> None:
    at = ("--data-dir", str(demo.home))
    alone = [run(*at, *arguments) for arguments in READS]
    with up(demo.home) as (url, process):
        served = [run(*at, *arguments) for arguments in READS]
        mirrored = run(*at, "ingest", str(HANDBOOK / "v1"), "-c", "handbook", "--mirror", "--json")
        there = httpx.get(f"{url}/v1/collections/handbook", trust_env=False).json()["head"]
        second = run(*at, "up", "--port", "0")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        said = [json.loads(line) for line in process.stderr]
        assert [line["event"].split(";")[0] for line in said] == ["ready", "Stopping", "Stopped."]
        assert said[0]["url"] == url

    for arguments, one, other in zip(READS, alone, served, strict=True):
        assert (one.status, stable(one.out), one.err) == (other.status, stable(other.out), other.err), arguments
    search, asked, past, wrong = served
    assert [ran.status for ran in served] == [0, 0, 0, 1]
    assert "rank  fused" in search.out
    assert "34 knots" in asked.out
    assert "[1] operations/weather-limits.md" in asked.out
    assert "38 knots" in json.loads(past.out.splitlines()[-1])["answer"]["text"]
    assert (wrong.json["status"], wrong.err) == (404, "")

    assert (mirrored.status, mirrored.json["position"], mirrored.json["stats"]["chunks_embedded"]) == (0, 3, 0)  # as a rollback: all known
    assert there["id"] == mirrored.json["commit_id"]
    assert (second.status, second.out) == (1, "")
    assert url in second.err
    assert len(second.err.splitlines()) == 1
