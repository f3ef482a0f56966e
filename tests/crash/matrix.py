"""The crash matrix, in forks of this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.crash.bases import make_bases
from tests.crash.cells import Cell
from tests.crash.processes import Tell, fork, in_parallel
from tests.crash.results import MatrixResult
from tests.crash.running import CellRun
from tests.crash.stores import Servers
from tests.crash.world import scratch


def run(
    wanted: Sequence[Cell], at_once: int | None = None, told: Callable[[str], None] = lambda _: None, servers: Servers | None = None
) -> MatrixResult:
    """Crashes in each of these cells, over embedded stores or in `servers`. `told` hears a line for each that does not converge. This process must have no threads."""
    began = time.monotonic()
    failures: list[str] = []
    names: set[str] = set()
    with scratch() as work:
        status = 0
        if servers is not None:
            servers.write(work)
        else:
            _, status = fork(lambda _: make_bases(work, sorted({cell.base for cell in wanted}))).wait()
        if status:
            raise RuntimeError("the collections to crash could not be made")
        for number, lines, status in in_parallel([partial(_run, work, cell) for cell in wanted], at_once or os.cpu_count() or 1):
            cell = wanted[number]
            why = f"its process ended with {status}" if status or not lines else lines[0]
            if why is None:
                names.add(cell.point.name)
            else:
                failures.append(f"{cell}: {why}")
                told(failures[-1])
    return MatrixResult(len(wanted), len(wanted) - len(failures), tuple(failures), frozenset(names), time.monotonic() - began)


def _run(work: Path, cell: Cell, tell: Tell) -> None:
    tell(CellRun(work, cell).run())
