"""A process of its own that takes later attempts out of a copy of a shard: loading one would hold Python's interpreter lock for seconds."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from qdrant_edge import EdgeShard, FieldCondition, Filter, RangeFloat, UpdateOperation

from ragstone.domain.commits import OPEN
from ragstone.domain.errors import Unavailable

_CHILD = "from ragstone.adapters.qdrant_edge_rewinding import main; main()"


def main() -> None:
    """Arguments: the shard's folder, and the last attempt that stays."""
    os.nice(10)
    rewind(Path(sys.argv[1]), int(sys.argv[2]))


def rewind(folder: Path, last: int) -> None:
    """Deletes what attempts after `last` opened, reopens what they closed."""
    shard = EdgeShard.load(str(folder))
    shard.update(UpdateOperation.delete_points_by_filter(Filter(must=[FieldCondition("seq_from", range=RangeFloat(gt=last))])))
    closed = FieldCondition("seq_to", range=RangeFloat(gt=last, lt=OPEN))
    shard.update(UpdateOperation.set_payload_by_filter(Filter(must=[closed]), {"seq_to": OPEN}))
    shard.flush()
    shard.close()


async def rewind_in_child(folder: Path, last: int) -> None:
    """As `rewind`. Cancelling it ends the process. Raises `Unavailable` when it fails."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD, str(folder), str(last), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        failed = await child.wait() != 0
    except asyncio.CancelledError:
        child.kill()
        await child.wait()
        raise
    if failed:
        raise Unavailable("The copy of the index could not be brought back to the moment of the backup; try again.")
