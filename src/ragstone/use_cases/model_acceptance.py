"""Whether a model that was loaded may serve: tried on one text, and of the same embedding space as the one before."""

from __future__ import annotations

import math

import numpy as np

from ragstone.domain.errors import InvalidInput
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.reranker import Reranker

_TEXT = "What does this model make of a text?"


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
