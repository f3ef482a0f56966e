"""scripts/live_reload.py, run as in the pod: it copies the package, starts the command, and starts it anew when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.charts.helm import ROOT

SCRIPT = ROOT / "scripts" / "live_reload.py"
# Says which package it found, then lives until it is told to end.
COMMAND = [sys.executable, "-c", "import ragstone, signal; print(ragstone.__file__, ragstone.__version__, flush=True); signal.pause()"]


@contextmanager
def running(live: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, SCRIPT, live, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def change_version(live: Path, text: str) -> None:
    (live / "ragstone" / "__init__.py").write_text(text)


@pytest.fixture
def live(tmp_path: Path) -> Path:
    return tmp_path


def test_a_change_is_read_after_a_hangup_and_the_first_process_stays(live: Path) -> None:
    with running(live, *COMMAND) as process:
        assert said(process).startswith(f"{live}/ragstone/__init__.py ")
        change_version(live, '"""Changed."""\n__version__ = "9.9.9"\n')
        process.send_signal(signal.SIGHUP)
        assert said(process).endswith(" 9.9.9")
        assert process.poll() is None


def test_a_copy_that_was_changed_is_kept_when_the_container_starts_again(live: Path) -> None:
    for version in ("0.0.1", "0.0.2"):
        (live / "ragstone").mkdir(exist_ok=True)
        change_version(live, f'"""Changed."""\n__version__ = "{version}"\n')
        with running(live, *COMMAND) as process:
            assert said(process).endswith(f" {version}")


def test_no_byte_code_of_the_image_is_copied(live: Path) -> None:
    with running(live, sys.executable, "-c", "import sys; sys.exit(7)") as process:
        assert process.wait(timeout=30) == 7
    assert (live / "ragstone" / "bootstrap" / "platform.py").is_file()
    assert not list(live.rglob("__pycache__"))


def test_a_mistake_in_the_code_waits_for_the_next_change(live: Path) -> None:
    with running(live, *COMMAND) as process:
        said(process)
        change_version(live, "this is no Python\n")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        while "SyntaxError" not in process.stderr.readline():
            pass
        change_version(live, '"""Mended."""\n__version__ = "1.1.1"\n')
        process.send_signal(signal.SIGHUP)
        assert said(process).endswith(" 1.1.1")


def test_the_pods_end_ends_the_command_with_its_own_exit_status(live: Path) -> None:
    graceful = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('up', flush=True); signal.pause()"
    with running(live, sys.executable, "-c", graceful) as process:
        assert said(process) == "up"
        process.terminate()
        assert process.wait(timeout=30) == 0
