"""Builds HNSW, or leaves out what was deleted, in a process of its own, on a copy of the shard.

The engine's `optimize` holds Python's interpreter lock for the whole of it (40 s for 50,000 points): in this process nothing else would run.
So the shard is copied, the copy optimised (or written into a fresh shard) by a child process, the writes made meanwhile are replayed on it,
and then it takes the place of the original. Until then the original counts, whatever happens to either process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ragstone.adapters.qdrant_edge_errors import check_room
from ragstone.adapters.qdrant_edge_files import IndexFiles, IndexState
from ragstone.adapters.qdrant_edge_shard import Shard
from ragstone.domain.errors import NotFound, Unavailable

# A child that outlived its parent would write into the folder in which the next process makes its own copy. While the engine works no Python
# code runs in the child, so it can't look for itself: on Linux the kernel ends it. 1 is PR_SET_PDEATHSIG.
_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != {parent}:
        os._exit(1)
"""

_CHILD = """
import os, sys
from qdrant_edge import EdgeShard
os.nice(10)
shard = EdgeShard.load(sys.argv[1])
shard.optimize()
shard.flush()
shard.close()
"""


_COMPACTING_CHILD = "from ragstone.adapters.qdrant_edge_compaction import main; main()"


class Optimiser:
    """Runs one optimisation or compaction of one index; `stop` ends it from another thread."""

    def __init__(self, files: IndexFiles) -> None:
        self._files = files
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()

    def run(self, shard: Shard, threshold: int) -> None:
        """Does nothing below `threshold` points, or a fifth of what the last optimisation saw, written since."""
        state = self._begin(shard)
        points = shard.size_in_points()
        if points - state.optimised_points < max(threshold, state.optimised_points // 5):
            return
        check_room(self._files.folder, 2 * shard.size())
        copy = self._files.generation(state.generation + 1)
        optimised = replace(state, generation=state.generation + 1, optimised_points=points)
        try:
            shard.copy_to(copy)
            self._in_child(_CHILD, copy, failure="The index could not be optimised; searches stay right, only slower.")
            shard.adopt(copy, lambda: self._files.write(optimised))
        except BaseException:
            self._back_out(shard, state)
            raise
        self._tidy(shard, optimised)

    def compact(self, shard: Shard) -> None:
        """Goes on with a fresh shard of the live points, and removes every other file of the index. HNSW is built again if it was built before."""
        state = self._begin(shard)
        hnsw = state.optimised_points > 0
        check_room(self._files.folder, (3 if hnsw else 2) * shard.size())
        fresh = self._files.generation(state.generation + 1)
        copy = fresh.with_name(f"{fresh.name}-source")
        try:
            shard.copy_to(copy)
            compacted = replace(state, generation=state.generation + 1, optimised_points=shard.size_in_points() if hnsw else 0)
            arguments = (copy, fresh, str(shard.dimension), "hnsw" if hnsw else "")
            self._in_child(_COMPACTING_CHILD, *arguments, failure="The index could not be compacted; deleted text is still in its files.")
            shard.adopt(fresh, lambda: self._files.write(compacted))
        except BaseException:
            self._back_out(shard, state)
            raise
        if self._tidy(shard, compacted):
            raise Unavailable("Old files of the index could not be removed; make the data directory writable and compact again.")

    def _begin(self, shard: Shard) -> IndexState:
        with shard.attended():
            state = self._files.read()
            self._files.remove_other_generations(state)
            return state

    def _back_out(self, shard: Shard, state: IndexState) -> None:
        """The original goes on to count, also when its replacement was named already and something failed after that."""
        shard.forget_copy()
        with suppress(NotFound), shard.attended():
            if self._files.read().generation != state.generation:
                self._files.write(state)
        self._tidy(shard, state)

    def _tidy(self, shard: Shard, state: IndexState) -> list[Path]:
        """Removes all shards of the index but the one that counts; returns those that could not be removed."""
        with suppress(NotFound), shard.attended():
            self._files.remove_other_generations(state)
            return self._files.other_generations(state)
        return []

    def stop(self) -> None:
        """Ends the child process; `run` and `compact` then raise `Unavailable`."""
        self._stopped.set()
        if self._child is not None:
            self._child.kill()

    def _in_child(self, script: str, *arguments: str | Path, failure: str) -> None:
        command = [sys.executable, "-P", "-c", _WITH_PARENT.format(parent=os.getpid()) + script, *map(str, arguments)]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603 (nothing of it comes from outside)
        if self._stopped.is_set():
            self._child.kill()
        if self._child.wait() != 0:
            raise Unavailable(failure)
