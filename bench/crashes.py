"""Crashes of the write path: the whole matrix, 200 random kills, and writers that wake up too late (`tests/crash`)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bench.rows import Row, row
from tests.crash import run_kills, run_matrix, run_zombie

SEED, KILLS, READS = 20261123, 200, 20_000


async def rows(_: Path) -> list[Row]:
    """The rows of crash safety. What did not hold is told on stderr, a line each."""
    matrix = await asyncio.to_thread(run_matrix)
    kills = await asyncio.to_thread(run_kills, SEED, KILLS)
    zombie = await asyncio.to_thread(run_zombie)
    for line in (*matrix.failures, *kills.notes, *zombie.notes):
        print(line, file=sys.stderr)
    killed = f"seed {kills.seed}; {kills.acknowledged:,} acknowledged requests, {kills.commits:,} commits, {kills.pruned} pruned"
    return [
        row("crash matrix cells that converge", matrix.converged / matrix.cells, "share", "==", 1.0, matrix.cells, f"{len(matrix.names)} failpoints"),
        row("random kills", kills.kills, "kills", ">=", KILLS, 1, killed),
        row("reads checked during and after the kills", kills.reads, "reads", ">=", READS),
        row("acknowledged writes lost", kills.lost, "writes", "==", 0, kills.acknowledged),
        row("ghosts after recovery", kills.ghosts, "found", "==", 0, kills.kills, "points, branches and bytes of no commit"),
        row("mixed reads", kills.mixed, "reads", "==", 0, kills.reads, "anything but exactly the commit's documents"),
        row("late writers: reads that changed", zombie.reads_changed, "reads", "==", 0, zombie.reads, "batch delayed until two later commits"),
        row("late writers: remains that the doctor saw", zombie.remains_seen / zombie.remains, "share", "==", 1.0, zombie.remains),
        row("late writers: remains that the doctor removed", zombie.remains_removed / zombie.remains, "share", "==", 1.0, zombie.remains),
    ]  # fmt: skip
