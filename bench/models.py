"""Model services: `python -m bench.models [GROUP ...]`, results in bench/results/models.json.

A group is a module `bench/<group>.py` with `async def rows(data: Path) -> list[Row]`. One whose environment or program is missing here gives rows that are
`skipped`, with why.
"""

from __future__ import annotations

import sys

from bench.runner import run

GROUPS = ("models_embedding", "models_generation", "models_registry", "models_bulk", "models_spaces")

if __name__ == "__main__":
    sys.exit(run("models", GROUPS, sys.argv[1:]))
