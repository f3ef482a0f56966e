"""Running other programs with a limit, and the one error that the test bed raises."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class ClusterError(Exception):
    """The test bed could not do something; the message says what, why and what to do."""


class Hopeless(ClusterError):
    """Waiting longer can't help."""


def run(
    command: Sequence[str | Path],
    *,
    limit: float = 60.0,
    stdin: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Standard output of a command. Raises `ClusterError` with the last lines it wrote when it fails or takes longer than `limit` seconds."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, errors="replace", timeout=limit, cwd=cwd, env=environment, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is missing on this machine: install it, or put it on PATH.") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{_short(words)}` took longer than {limit:.0f} s and was ended.") from error
    if done.returncode != 0:
        raise ClusterError(f"`{_short(words)}` failed ({done.returncode}): {tail(done.stderr or done.stdout)}")
    return done.stdout


def tail(text: str, lines: int = 12) -> str:
    """The last lines of a text, blank ones left out."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def _short(words: Sequence[str]) -> str:
    shown = " ".join(words)
    return shown if len(shown) <= 160 else shown[:157] + "..."
