"""`python -m tests.support.bulk_shard bulk-shard RUN [SHARD]`: the program of a shard with a model that needs no files; the stage is the folder BULK_STAGE.

BULK_TROUBLE: a folder; a shard that finds a file of its number there takes it away and kills itself in the midst of its first part. `forever` in place of the number: each
shard, each time. `slow`: a shard takes long.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ragstone.adapters.file_bulk_stage import FileBulkStage
from ragstone.domain.errors import NotFound
from ragstone.domain.retrieval import Vectors
from ragstone.use_cases.bulk_shard import work_shard
from tests.fakes.embedding_model import HashingEmbeddingModel

DIMENSION = 8


class Model(HashingEmbeddingModel):
    """Notes what it embeds, a line a text, and gets into trouble."""

    def __init__(self, shard: int, die: Callable[[], None]) -> None:
        super().__init__(DIMENSION)
        self._die = die
        self._shard = shard
        self._trouble = Path(os.environ["BULK_TROUBLE"])

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        with (self._trouble / "embedded").open("a") as notes:
            notes.write("".join(f"{self._shard} {text}\n" for text in texts))
        if (self._trouble / "slow").exists():
            await asyncio.sleep(120)
        mine = self._trouble / str(self._shard)
        if (self._trouble / "forever").exists() or mine.exists():
            mine.unlink(missing_ok=True)
            self._die()
        return await super().embed_passages(texts)


async def main(run: str, shard: int) -> None:
    try:
        await work_shard(FileBulkStage(Path(os.environ["BULK_STAGE"])), run, shard, Model(shard, _die))
    except NotFound:
        return


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _until_stdin_ends() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    if "SHARD_LIVES_WITH_STDIN" in os.environ:
        threading.Thread(target=_until_stdin_ends, daemon=True).start()
    asyncio.run(main(sys.argv[2], int(sys.argv[3] if len(sys.argv) > 3 else os.environ["JOB_COMPLETION_INDEX"])))
