"""What an embeddings endpoint answered: read, and checked before anyone uses it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np
from pydantic_core import from_json

from ragstone.domain.errors import InternalError, Unavailable
from ragstone.domain.retrieval import Vector, Vectors
from ragstone.domain.spaces import ModelIdentity, Pooling

_NUMBERS = {"dimension", "window"}


@dataclass(frozen=True, slots=True)
class Reply:
    """`vectors`: float32 (n, d), L2-normalised and finite, row i for text i. `tokens` as the server counted them, None where it does not tell.

    `identity`: the model's, where the server is ragstone's own.
    """

    vectors: Vectors
    tokens: int | None
    identity: ModelIdentity | None


def read_reply(body: bytes, count: int) -> Reply:
    """The answer to `count` texts, at least one. Raises `Unavailable` for what is no such answer, `InternalError` for one that is wrong."""
    document = _document(body)
    data = document.get("data")
    if not isinstance(data, list):
        raise Unavailable("The embedding server answered with JSON that is no list of embeddings; check its base URL.")
    rows: dict[int, Vector] = {}
    for entry in data:
        index = entry.get("index") if isinstance(entry, dict) else None
        if type(index) is not int:
            raise Unavailable("The embedding server sent an embedding without an index.")
        rows[index] = _vector(entry.get("embedding"))
    if len(data) != count or rows.keys() != set(range(count)):
        raise InternalError(
            f"The embedding server gave {len(data)} embeddings for {count} texts, or not one for each; nothing is used of them."
        )
    if len({len(row) for row in rows.values()}) != 1:
        raise InternalError("The embedding server gave embeddings of several lengths at once; nothing is used of them.")
    extras = document.get("ragstone")
    identity = _identity(extras.get("model")) if isinstance(extras, dict) else None
    return Reply(_normalised(np.stack([rows[row] for row in range(count)])), _tokens(document), identity)


def read_description(body: bytes) -> ModelIdentity | None:
    """The model in an answer to `GET /v1/models/{name}`; None where it is not ragstone's. Raises `Unavailable` for what is no JSON object."""
    return _identity(_document(body).get("ragstone"))


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = from_json(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Unavailable("The embedding server did not answer with a JSON object; check its base URL.")
    return document


def _vector(value: object) -> Vector:
    """Of base64 (little-endian float32, as OpenAI's) or of a list of numbers."""
    try:
        if isinstance(value, str):
            vector = np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
        else:
            with np.errstate(over="ignore"):  # beyond float32 it becomes infinite, which is refused
                vector = np.asarray(value, np.float64).astype(np.float32)
    except (binascii.Error, ValueError, TypeError):
        vector = np.empty((0, 0), np.float32)
    if vector.ndim != 1 or not len(vector):
        raise Unavailable("The embedding server sent an embedding that is neither a list of numbers nor base64 of float32.")
    return vector


def _normalised(vectors: Vectors) -> Vectors:
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(vectors).all() or not np.isfinite(norms).all() or not norms.all():
        raise InternalError("The embedding server gave a vector that is zero or not finite; nothing is used of its answer.")
    normalised: Vectors = vectors / norms
    return normalised


def _tokens(document: Mapping[str, Any]) -> int | None:
    usage = document.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if type(tokens) is int else None


def _identity(found: object) -> ModelIdentity | None:
    if not isinstance(found, dict):
        return None
    values = {field.name: found.get(field.name) for field in fields(ModelIdentity)}
    right = all(type(value) is (int if name in _NUMBERS else str) for name, value in values.items())
    return ModelIdentity(**values) if right and values["pooling"] in get_args(Pooling) else None  # type: ignore[arg-type]
