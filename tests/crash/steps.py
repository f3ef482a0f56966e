"""Kills between the durable steps inside one call of an embedded adapter: a pack is written but its branch is not, half a batch is in the index."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

from ragstone.adapters.git_refs import GitRefs
from ragstone.adapters.qdrant_edge_files import IndexFiles
from ragstone.adapters.qdrant_edge_shard import Shard
from ragstone.adapters.sqlite import SqliteDatabase

# What every durable change goes through. Forked processes may have these replaced, for nobody else sees it.
STEPS: tuple[tuple[Any, str], ...] = (
    (os, "fsync"),
    (Path, "rename"),
    (Path, "unlink"),
    (shutil, "rmtree"),
    (GitRefs, "set"),
    (IndexFiles, "write"),
    (Shard, "_update"),
    (SqliteDatabase, "_transaction"),
)


def kill_at(step: int, hit: int, *, after: bool) -> None:
    """This process dies at the `hit`-th call from now on, before it or after it."""
    owner, name = STEPS[step]
    original = getattr(owner, name)
    calls = 0

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == hit and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if calls >= hit and after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, call)
