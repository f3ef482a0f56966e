"""Embedding spaces: everything that a vector depends on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal

Pooling = Literal["mean", "cls", "last"]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """An embedding model: `digest` is the SHA-256 of its weights, `window` the tokens it reads at most, special tokens included."""

    name: str
    revision: str
    digest: str
    dimension: int
    pooling: Pooling
    window: int
    query_prefix: str = ""
    passage_prefix: str = ""

    @property
    def space(self) -> str:
        """The model's part of an embedding space: the first 16 hexadecimal digits of the SHA-256 of the canonical JSON of all fields."""
        return _digest(self)


@dataclass(frozen=True, slots=True)
class ChunkerSettings:
    """Budgets in tokens of the embedding model, of the embedded text (heading path included)."""

    max_tokens: int = 240
    min_tokens: int = 48
    version: str = "1"


@dataclass(frozen=True, slots=True)
class Bm25Settings:
    """BM25 with the usual names (Robertson and Zaragoza 2009). `average_length` is in tokens and fixed, so that scores never drift."""

    language: str = "english"
    k1: float = 1.2
    b: float = 0.75
    average_length: float = 128.0


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Vectors of two spaces are never compared. `id` is derived from every other field."""

    model: ModelIdentity
    parsers: tuple[str, ...]
    chunker: ChunkerSettings
    bm25: Bm25Settings

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON of all fields."""
        return _digest(self)


@lru_cache(maxsize=256)  # every question asks for it, several times
def _digest(whole: EmbeddingSpace | ModelIdentity) -> str:
    canonical = json.dumps(asdict(whole), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
