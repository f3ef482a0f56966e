"""A small server on loopback that speaks OpenAI's embeddings protocol, well or badly, and says nothing of its model."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ragstone.domain.retrieval import Vectors
from ragstone.ports.embedding_model import EmbeddingModel
from tests.support.chat_server import Call, Reply

Change = Callable[[dict[str, Any]], object]


def serving(model: EmbeddingModel, change: Change = lambda document: document, *, largest: int = 32, scale: float = 3.0) -> Reply:
    """Answers as vLLM and TEI do: texts as they come, vectors not normalised (`scale`), at most `largest` texts, longer ones than the window refused.

    `change` alters the document before it is sent, or gives another.
    """

    async def reply(call: Call) -> None:
        if call.path != "/v1/embeddings":
            await answer(call, {"error": {"message": "nothing here", "type": "NotFound"}}, 404)
            return
        texts: list[str] = call.body["input"]
        tokens = [count + model.special_tokens for count in model.count_tokens(texts)]
        if len(texts) > largest or max(tokens) > model.identity.window or not all(texts):
            await answer(call, {"error": {"message": "too much", "code": "validation"}}, 413)
            return
        document = embeddings(await model.embed_passages(texts) * scale, call.body["encoding_format"])
        document["usage"] = {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)}
        await answer(call, change(document))

    return reply


def embeddings(vectors: Vectors | Sequence[Sequence[float]], encoding: str = "float") -> dict[str, Any]:
    """The document that answers with these, the last one first."""
    rows = [row.tolist() if isinstance(row, np.ndarray) else list(row) for row in vectors]
    written = [base64.b64encode(np.asarray(row, "<f4").tobytes()).decode() if encoding == "base64" else row for row in rows]
    data = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(written)]
    return {"object": "list", "data": data[::-1], "model": "whatever"}


async def answer(call: Call, document: object, status: int = 200, **headers: str) -> None:
    """A response with a JSON body (NaN and Infinity as Python writes them)."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    await call.start(status, "application/json", content_length=str(len(body)), **headers)
    await call.raw(body)
