"""`python -m bench.counted FILE COMMAND ...`: ragstone, whose embedder notes in FILE how many passages it is given before it embeds them.

One line a call, "<process id> <number of texts>", appended by one write: it is there however soon the process is killed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.bootstrap import bulk
from ragstone.cli.main import main
from ragstone.domain.retrieval import Vectors


def count(file: Path) -> None:
    """From now on `OnnxEmbedder` notes there what it is given."""
    embed = OnnxEmbedder.embed_passages
    notes = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def counted(self: OnnxEmbedder, texts: Sequence[str]) -> Vectors:
        os.write(notes, f"{os.getpid()} {len(texts)}\n".encode())
        return await embed(self, texts)

    OnnxEmbedder.embed_passages = counted  # type: ignore[method-assign]
    bulk.PROGRAM = (sys.executable, "-m", "bench.counted", str(file))  # shards of bulk work note it too


def noted(file: Path) -> list[tuple[int, int]]:
    """Process and number of texts of each call so far, in order."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [(int(process), int(texts)) for process, texts in (line.split() for line in lines)]


if __name__ == "__main__":
    count(Path(sys.argv.pop(1)))
    main()
