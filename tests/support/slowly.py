"""`python -m tests.support.slowly SECONDS WORD COMMAND ...`: ragstone, whose embedder takes so long for passages with the word, and works on others meanwhile."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.cli.main import main
from ragstone.domain.retrieval import Vectors


def slow_down(seconds: float, word: str) -> None:
    """From now on."""
    embed = OnnxEmbedder.embed_passages

    async def slowly(self: OnnxEmbedder, texts: Sequence[str]) -> Vectors:
        if any(word in text for text in texts):
            await asyncio.sleep(seconds)
        return await embed(self, texts)

    OnnxEmbedder.embed_passages = slowly  # type: ignore[method-assign]


if __name__ == "__main__":
    slow_down(float(sys.argv.pop(1)), sys.argv.pop(1))
    main()
