"""`/v1/embeddings` and the embedding model under `/v1/models`, as orchestrator and embedding service answer them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from starlette.responses import Response

from ragstone.domain.errors import Conflict, InvalidInput, TooLarge
from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.services.orchestrator.context import json_response
from ragstone.services.orchestrator.schemas.openai import EmbeddingsBody

Kind = Literal["passage", "query"]

_INPUTS = 2048  # texts of one request, as OpenAI's own limit
_PASSAGE_CHARACTERS = 8_000  # twice those of the longest chunk, so that no setting for questions keeps a client from its passages


def model_json(identity: ModelIdentity, **more: Any) -> dict[str, Any]:
    """The embedding model among `/v1/models`, described under `ragstone`, with the space that its vectors are of."""
    described = {**asdict(identity), "space": identity.space, **more}
    return {"id": identity.name, "object": "model", "created": 0, "owned_by": "ragstone", "ragstone": described}


def checked(asked: EmbeddingsBody, identity: ModelIdentity, question_characters: int) -> tuple[list[str], Kind]:
    """The texts of a request, and what they are. Raises `InvalidInput`, `TooLarge`, `Conflict` naming the field."""
    if asked.dimensions not in (None, identity.dimension):
        raise InvalidInput(f"dimensions: the model has {identity.dimension}; leave the field out.", field="dimensions")
    check_space(asked.space, identity)
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    kind = asked.input_type or "passage"
    check_texts(texts, kind, question_characters)
    return texts, kind


def check_space(space: str | None, identity: ModelIdentity) -> None:
    """Raises `Conflict` where the caller wants vectors of another embedding space than the model's."""
    if space not in (None, identity.space):
        raise Conflict(
            f"space: the caller's vectors are of the embedding space {str(space)[:16]}, and the model served here, {identity.name} "
            f"(digest {identity.digest[:12]}), gives those of {identity.space}; vectors of two spaces are never compared.",
            field="space",
        )


def check_texts(texts: Sequence[str], kind: Kind, question_characters: int, field: str = "input") -> None:
    """Raises `InvalidInput`, `TooLarge` naming the field."""
    characters = question_characters if kind == "query" else max(question_characters, _PASSAGE_CHARACTERS)
    if not texts:
        raise InvalidInput(f"{field}: there is no text; give at least one.", field=field)
    if len(texts) > _INPUTS:
        raise TooLarge(f"{field}: at most {_INPUTS:,} texts in one request; split it into several.", field=field)
    if any(not text for text in texts):
        raise InvalidInput(f"{field}: a text is empty.", field=field)
    if any(len(text) > characters for text in texts):
        raise TooLarge(f"{field}: a text has at most {characters:,} characters.", field=field)


async def measured(embedder: EmbeddingModel, texts: Sequence[str], kind: Kind) -> tuple[int, list[int]]:
    """Tokens of the texts, uncut, without prefixes and special tokens; and the indices of those that the window cuts."""
    identity = embedder.identity
    prefix = identity.query_prefix if kind == "query" else identity.passage_prefix

    def count() -> tuple[int, list[int]]:  # in a thread, as there may be many
        tokens = embedder.count_tokens(texts)
        read = embedder.count_tokens([prefix + text for text in texts]) if prefix else tokens
        room = identity.window - embedder.special_tokens
        return sum(tokens), [index for index, count in enumerate(read) if count > room]

    return await asyncio.to_thread(count)


async def answer(
    identity: ModelIdentity,
    vectors: Vectors,
    kind: Kind,
    used: tuple[int, list[int]],
    encoding: str | None,
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer; `used` is `measured`'s, `more` goes under `ragstone`."""
    tokens, truncated = used

    def write() -> Response:  # in a thread, as there may be many numbers
        data = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(_encoded(vectors, encoding))]
        form = {
            "object": "list",
            "data": data,
            "model": identity.name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "ragstone": {"model": asdict(identity), "input_type": kind, "truncated": truncated, **(more or {})},
        }
        return json_response(form, headers=headers)

    return await asyncio.to_thread(write)


def _encoded(vectors: Vectors, encoding: str | None) -> list[Any]:
    if encoding == "base64":
        return [base64.b64encode(row.tobytes()).decode() for row in np.asarray(vectors, "<f4")]
    listed: list[Any] = vectors.tolist()
    return listed
