"""Whether a model that was loaded may serve: tried on one text, and, of an embedder, of the same embedding space as the one before."""

from __future__ import annotations

import asyncio
import json
import math

import numpy as np

from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.generation_engine import GenerationEngine
from ragstone.ports.reranker import Reranker

_TEXT = "What does this model make of a text?"
_FIRST_TOKEN = 120.0  # seconds that an engine may take for one


async def try_embedder(model: EmbeddingModel) -> None:
    """Raises `InvalidInput`, or what the model raises, unless a text becomes one finite vector of the model's dimension."""
    expected = (1, model.identity.dimension)
    for vectors in (await model.embed_queries([_TEXT]), await model.embed_passages([_TEXT])):
        if vectors.shape != expected or not np.isfinite(vectors).all():
            raise InvalidInput(
                f"The model gives an array of shape {vectors.shape} for a text, not {expected} finite numbers.", field="model"
            )


async def accept_embedder(new: EmbeddingModel, old: EmbeddingModel) -> None:
    """Raises `InvalidInput` when `new` is of another embedding space than `old`, and as `try_embedder`."""
    if new.identity != old.identity:
        raise InvalidInput(
            f"It is of another embedding space ({new.identity.space}, not {old.identity.space}): what was embedded before could not be compared with what it "
            "embeds. Embed the collections anew with it (`ragstone reembed`), and start services with it for that.",
            field="model",
        )
    await try_embedder(new)


async def accept_reranker(new: Reranker, _: Reranker) -> None:
    """Raises `InvalidInput`, or what the model raises, unless a pair of texts gets one finite score."""
    scores = await new.score(_TEXT, [_TEXT])
    if len(scores) != 1 or not math.isfinite(scores[0]):
        raise InvalidInput("The model does not give one finite score for a question and a text.", field="model")


async def accept_engine(new: GenerationEngine, old: GenerationEngine) -> None:
    """Starts `new`, and waits for it. Raises `InvalidInput` unless it comes up and answers one message, and is called as `old` is; and as `GenerationEngine.start`."""
    if new.names != old.names:
        raise InvalidInput(
            f"It would be called {new.names[0]}, and requests call {old.names[0]}: set generation_service.name, and start the service again.",
            field="model",
        )
    await new.start()
    await new.ready()
    form = {"model": new.names[0], "messages": [{"role": "user", "content": _TEXT}], "max_tokens": 1, "stream": True}
    try:
        async with asyncio.timeout(_FIRST_TOKEN):
            reply = await new.chat(json.dumps(form).encode())
            try:
                said = b"".join([piece async for piece in reply.pieces()])
            finally:
                await reply.aclose()
    except (TimeoutError, Unavailable) as error:
        raise InvalidInput("The engine comes up, but does not answer a message.", field="model") from error
    if reply.status != 200 or not said.rstrip().endswith(b"[DONE]") or b'"error":' in said:
        raise InvalidInput(f"The engine answers a message with status {reply.status}: {said[:300].decode(errors='replace')}", field="model")
