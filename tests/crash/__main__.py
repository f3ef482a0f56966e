"""`python -m tests.crash`: the whole crash matrix, 200 random kills, 20 kills while a space is filled, and the late writers; or one of them."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import secrets
import sys
from dataclasses import asdict
from typing import get_args

from tests.crash import kills, matrix, refills, zombie
from tests.crash.cells import cells, few, over_servers, sample
from tests.crash.results import KillResult, MatrixResult, RefillResult, ZombieResult
from tests.crash.stores import Kind, running
from tests.crash.world import scratch


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("matrix", "kills", "refills", "zombie"), help="all of them by default")
    parser.add_argument("--sample", action="store_true", help="fewer cells, in which every failpoint fires all the same")
    parser.add_argument("--few", action="store_true", help="a cell for each port, and one for each kind of start and of space")
    parser.add_argument("--cell", default="", help="only the cells whose name holds this, as in 'index.insert.after=kill'")
    parser.add_argument("--kills", type=int, help="random ones: 200; with refills, of a process that fills a space: 20")
    parser.add_argument("--seed", type=int, help="makes the kills' script; a random one by default")
    parser.add_argument("--at-once", type=int, help="processes that run at the same time; as many as there are processors by default")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for programs")
    parser.add_argument(
        "--stores", choices=get_args(Kind), default="embedded", help="of the matrix; networked: MongoDB, NATS, lakeFS and Qdrant"
    )
    asked = parser.parse_args()
    if asked.stores != "embedded" and asked.what != "matrix":
        parser.error("--stores goes with the matrix")
    logging.disable(logging.CRITICAL)
    held = True
    for what in [asked.what] if asked.what else ("matrix", "kills", "refills", "zombie"):
        result = _run(what, asked)
        held &= _holds(result)
        print(json.dumps(asdict(result), default=sorted) if asked.json else _line(result), flush=True)
    return int(not held and not asked.json)


def _run(what: str, asked: argparse.Namespace) -> MatrixResult | KillResult | RefillResult | ZombieResult:
    if what == "matrix":
        wanted = [cell for cell in (few() if asked.few else sample() if asked.sample else cells()) if asked.cell in str(cell)]
        with running(asked.stores) as servers:
            if servers is not None:
                wanted = [cell for cell in wanted if over_servers(cell)]
            return matrix.run(wanted, asked.at_once, _tell, servers)
    if what == "kills":
        seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
        wanted_kills = 200 if asked.kills is None else asked.kills
        _tell(f"{wanted_kills} kills with seed {seed}")
        return kills.run(seed, wanted_kills, asked.at_once, _tell)
    if what == "refills":
        seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
        return refills.run(seed, 20 if asked.kills is None or asked.what is None else asked.kills, _tell)
    with scratch() as directory:
        return asyncio.run(zombie.run(directory / "data"))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _line(result: MatrixResult | KillResult | RefillResult | ZombieResult) -> str:
    match result:
        case MatrixResult():
            share = f"{result.converged:,} of {result.cells:,} cells converged"
            return f"crash matrix: {share} ({len(result.names)} failpoints, {result.seconds:.0f} s)"
        case KillResult():
            found = f"{result.lost} lost, {result.ghosts} ghosts, {result.mixed} mixed among {result.reads:,} checked reads"
            work = f"{result.acknowledged:,} acknowledged requests, {result.commits:,} commits ({result.pruned} pruned), {result.seconds:.0f} s"
            return f"random kills: {result.kills} with seed {result.seed}: {found} ({work})"
        case RefillResult():
            bound = f"{result.again} embedded again, {result.kills} x {result.batch} allowed"
            return (
                f"a space filled over {result.kills} kills with seed {result.seed}: {result.texts:,} texts, {bound}; "
                f"{len(result.notes)} faults among {result.reads:,} reads ({result.seconds:.0f} s)"
            )
        case ZombieResult():
            found = f"{result.reads_changed} of {result.reads:,} reads changed"
            return f"late writers: {found}; the doctor saw the remains of {result.remains_seen} of {result.remains} and removed {result.remains_removed}"


def _holds(result: MatrixResult | KillResult | RefillResult | ZombieResult) -> bool:
    match result:
        case MatrixResult():
            return result.converged == result.cells
        case KillResult():
            return not (result.lost or result.ghosts or result.mixed)
        case RefillResult():
            return not result.notes and result.again <= result.kills * result.batch
        case ZombieResult():
            return not result.reads_changed and result.remains == result.remains_seen == result.remains_removed and not result.notes


if __name__ == "__main__":
    sys.exit(main())
