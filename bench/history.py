"""What must not be lost, doubled or left behind: `python -m bench.history [GROUP ...]`, results in bench/results/history.json."""

from __future__ import annotations

import sys

from bench.runner import run

GROUPS = ("crashes", "damage", "replay", "erasure")

if __name__ == "__main__":
    sys.exit(run("history", GROUPS, sys.argv[1:]))
