"""The core's benchmarks: `python -m bench.core [GROUP ...]`, results in bench/results/core.json."""

from __future__ import annotations

import sys

from bench.runner import run

GROUPS = ("retrieval", "answers", "versioned", "update", "embedder", "index_speed", "overhead", "serving")

if __name__ == "__main__":
    sys.exit(run("core", GROUPS, sys.argv[1:]))
