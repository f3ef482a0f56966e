"""Damage done to a real data directory behind ragstone's back, and what the doctor makes of it (`tests/support/damage.py`)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.rows import Row, row
from tests.support.damage import run_damage


async def rows(_: Path) -> list[Row]:
    """The rows of the doctor."""
    results = await asyncio.to_thread(run_damage)
    repairable = [result for result in results if result.repairable]
    others = [result for result in results if not result.repairable]
    missed = ", ".join(result.kind for result in results if not result.detected)
    left = ", ".join(result.kind for result in repairable if not result.repaired)
    return [
        row("kinds of damage that the doctor was shown", len(results), "kinds", ">=", 12),
        row("damage detected", sum(result.detected for result in results) / len(results), "share", "==", 1.0, len(results), missed),
        row("repairable damage repaired", sum(result.repaired for result in repairable) / len(repairable), "share", "==", 1.0, len(repairable), left),
        row("other damage explained", sum(result.explained for result in others) / len(others), "share", "==", 1.0, len(others), ", ".join(result.kind for result in others)),
    ]  # fmt: skip
