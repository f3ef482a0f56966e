"""The script of `helm test`, with a ragstone that only writes down what it was asked: it cleans up, also when it is stopped."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.charts.helm import CHARTS

SCRIPT = (CHARTS / "orchestrator" / "files" / "ask.py").read_text(encoding="utf-8")
CITED = {"answer": {"text": "It is blue.", "citations": [{"path": "pump.md", "commit_id": "c1"}]}, "snapshot": {"commit_id": "c1"}}
Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the script; when its ragstone is asked, `ask` runs."""

    def begin(ask: str) -> subprocess.Popen[str]:
        fake = tmp_path / "ragstone"
        fake.write_text(
            f'#!/bin/sh\nshift\necho "$*" >>{shlex.quote(str(tmp_path / "asked"))}\n'
            f'case $1 in ask) {ask} ;; *) echo \'{{"commit_id": "c1"}}\' ;; esac\n'
        )
        fake.chmod(0o755)
        program = SCRIPT.replace("/opt/ragstone/bin/ragstone", str(fake)).replace("/tmp/pump.md", str(tmp_path / "pump.md"))
        assert program.count(str(tmp_path)) == 2
        environment = {**os.environ, "RAGSTONE_SERVER": "http://ragstone.test"}
        return subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )

    return begin


def asked(tmp_path: Path) -> list[str]:
    return [" ".join(line.split()[:2]) for line in (tmp_path / "asked").read_text(encoding="utf-8").splitlines()]


def test_it_asks_says_so_and_cleans_up(start: Start, tmp_path: Path) -> None:
    said, complaint = (process := start(f"echo {shlex.quote(json.dumps(CITED))}")).communicate(timeout=30)
    assert (process.returncode, complaint) == (0, "")
    assert said == "http://ragstone.test answered from commit c1: It is blue.\n"
    assert asked(tmp_path)[-1] == "collections delete"


def test_an_answer_that_cites_something_else_fails_it(start: Start) -> None:
    wrong = {**CITED, "answer": {"text": "?", "citations": []}}
    _, complaint = (process := start(f"echo {shlex.quote(json.dumps(wrong))}")).communicate(timeout=30)
    assert process.returncode == 1
    assert complaint.startswith("The answer should cite")


def test_a_stopped_test_cleans_up(start: Start, tmp_path: Path) -> None:
    os.mkfifo(reached := tmp_path / "reached")
    process = start(f"echo x >{shlex.quote(str(reached))}; exec sleep 60")
    reached.read_text(encoding="utf-8")
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 1
    assert complaint == "The test was stopped.\n"
    assert asked(tmp_path)[-2:] == [asked(tmp_path)[-2], "collections delete"]
    assert asked(tmp_path)[-2].startswith("ask")
