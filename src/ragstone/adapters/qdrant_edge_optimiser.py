"""Builds HNSW in a process of its own, on a copy of the shard.

The engine's `optimize` holds Python's interpreter lock for the whole of it (40 s for 50,000 points): in this process nothing else would run.
So the shard is copied, the copy optimised by a child process, the writes made meanwhile are replayed on it, and then it takes the place
of the original. Until then the original counts, whatever happens to either process.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

from ragstone.adapters.qdrant_edge_errors import check_room
from ragstone.adapters.qdrant_edge_files import IndexFiles
from ragstone.adapters.qdrant_edge_shard import Shard
from ragstone.domain.errors import Unavailable

_CHILD = """
import os, sys
from qdrant_edge import EdgeShard
os.nice(10)
shard = EdgeShard.load(sys.argv[1])
shard.optimize()
shard.flush()
shard.close()
"""


class Optimiser:
    """Runs one optimisation of one index; `stop` ends it from another thread."""

    def __init__(self, files: IndexFiles) -> None:
        self._files = files
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()

    def run(self, shard: Shard, threshold: int) -> None:
        """Does nothing below `threshold` points, or a fifth of what the last optimisation saw, written since."""
        state = self._files.read()
        points = shard.size_in_points()
        if points - state.optimised_points < max(threshold, state.optimised_points // 5):
            return
        check_room(self._files.folder, 2 * shard.size())
        original, copy = shard.folder, self._files.generation(state.generation + 1)
        shutil.rmtree(copy, ignore_errors=True)
        try:
            shard.copy_to(copy)
            self._optimise(copy)
            shard.adopt(copy, lambda: self._files.write(replace(state, generation=state.generation + 1, optimised_points=points)))
        except BaseException:
            shard.forget_copy()
            shutil.rmtree(copy, ignore_errors=True)
            raise
        shutil.rmtree(original, ignore_errors=True)

    def stop(self) -> None:
        """Ends the child process; `run` then raises `Unavailable`."""
        self._stopped.set()
        if self._child is not None:
            self._child.kill()

    def _optimise(self, folder: Path) -> None:
        command = [sys.executable, "-c", _CHILD, str(folder)]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603 (nothing of it comes from outside)
        if self._stopped.is_set():
            self._child.kill()
        if self._child.wait() != 0:
            raise Unavailable("The index could not be optimised; searches stay right, only slower.")
