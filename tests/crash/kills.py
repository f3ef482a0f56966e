"""Random kills: a process that works is killed at some moment or failpoint, another one goes on over the same directory, and so forth."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ragstone.adapters.failpoints import MOMENTS, SIDE_EFFECTS, Failpoint
from tests.crash.living import Known, Life
from tests.crash.oracle import COLLECTION
from tests.crash.processes import Child, Tell, fork, in_parallel
from tests.crash.results import KillResult
from tests.crash.steps import STEPS
from tests.crash.world import opened, scratch

_LONGEST = 60.0  # seconds of a process
_READS = 110  # checked ones that a process shall get to before it is killed at work; on a slow machine it gets so many seconds more:
_PATIENCE = 5.0
_NAMES = [f"{port}.{method}.{moment}" for port in SIDE_EFFECTS for method in SIDE_EFFECTS[port] for moment in MOMENTS]


def run(seed: int, kills: int, at_once: int | None = None, told: Callable[[str], None] = lambda _: None) -> KillResult:
    """So many kills, spread over a few data directories that live side by side. This process must have no threads."""
    began = time.monotonic()
    chains = min(at_once or os.cpu_count() or 1, kills)
    shares = [kills // chains + (chain < kills % chains) for chain in range(chains)]
    totals: Counter[str] = Counter()
    notes: list[str] = []
    with scratch() as work:
        works = [partial(_chain, work / f"chain-{chain}", f"s{seed}.{chain}", share) for chain, share in enumerate(shares)]
        for chain, lines, status in in_parallel(works, chains):
            if status:
                notes.append(f"chain {chain} ended with {status}")
                totals["lost"] += 1
            for what, value in lines:
                if what == "note":
                    notes.append(value)
                    told(value)
                else:
                    totals[what] += value
    return KillResult(
        seed,
        totals["kills"],
        totals["reads"],
        totals["lost"],
        totals["ghost"],
        totals["mixed"],
        totals["acknowledged"],
        totals["commits"],
        totals["pruned"],
        tuple(notes),
        time.monotonic() - began,
    )


def _chain(directory: Path, seed: str, kills: int, tell: Tell) -> None:
    """One directory and its processes."""
    _, status = fork(lambda _: asyncio.run(_create(directory))).wait()
    if status:
        raise RuntimeError("no collection could be made")
    known = Known()
    for number in range(kills + 1):
        known.reads_wanted = _READS * (number + 1)
        _life(directory, f"{seed}.{number}", known, tell, last=number == kills)
    tell(["kills", kills])
    tell(["acknowledged", len(known.acknowledged) + len(known.tagged)])


async def _create(directory: Path) -> None:
    async with opened(directory) as world:
        await world.platform.collections.create(COLLECTION)


def _life(directory: Path, seed: str, known: Known, tell: Tell, *, last: bool) -> None:
    """One process, until it is killed: while it starts and recovers, while it works, at a failpoint, or between two durable steps of one."""
    rng = random.Random(seed)
    way = "last" if last else rng.choice(("start", "work", "work", "failpoint", "failpoint", "step", "step"))
    point = Failpoint(rng.choice(_NAMES), "kill", rng.choice((1, 1, 2, 3, 5, 9))) if way == "failpoint" else None
    step = (rng.randrange(len(STEPS)), rng.randint(1, 40), rng.random() < 0.5) if way == "step" else None
    child = fork(Life(directory, seed, known, point, step, rng.random() < 0.3, rng.random() < 0.1, last).run)
    began = time.monotonic()
    until = latest = began + (rng.uniform(0.01, 0.5) if way == "start" else _LONGEST)
    while not child.ended and ((now := time.monotonic()) < until or (known.reads < known.reads_wanted and now < latest)):
        for line in child.read(max(until - now, 0.02)):
            if line == ["working"]:
                until = time.monotonic() + rng.uniform(0.05, 0.9)
                latest = until + _PATIENCE
            _hear(line, known, seed, tell)
    _end(child, known, seed, tell, last=last)


def _end(child: Child, known: Known, seed: str, tell: Tell, *, last: bool) -> None:
    if not last:
        child.kill()
    lines, status = child.wait()
    for line in lines:
        _hear(line, known, seed, tell)
    if status != (0 if last else -signal.SIGKILL):
        _hear(["lost", f"the process ended by itself, with {status}"], known, seed, tell)


def _hear(line: list[object], known: Known, seed: str, tell: Tell) -> None:
    match line:
        case ["reads", int(count)]:
            known.reads += count
            tell(["reads", count])
        case ["end", int(made), int(pruned)]:
            tell(["commits", made])
            tell(["pruned", pruned])
        case [("lost" | "ghost" | "mixed") as what, str(why)]:
            tell([what, 1])
            tell(["note", f"{what}: {why} ({seed})"])
        case _:
            known.hear(line)
