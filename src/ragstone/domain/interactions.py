"""Interactions: each question with its answer, what it was made from, and what people thought of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person said of an answer. `score` 0 to 1. `created_at`: Unix seconds."""

    thumb: int | None = None  # +1 or -1
    score: float | None = None
    comment: str = ""
    tags: tuple[str, ...] = ()
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Interaction:
    """One question. `answer` and `passages` are the JSON forms of what was returned; `timings` are in milliseconds. `created_at`: Unix seconds."""

    id: str
    collection: str
    question: str
    release_id: str
    commit_id: str
    seq: int
    position: int
    space_id: str
    principal: str
    created_at: float
    request: Mapping[str, Any]
    answer: Mapping[str, Any]
    passages: tuple[Mapping[str, Any], ...]
    models: Mapping[str, str]
    timings: Mapping[str, float]
    feedback: tuple[Feedback, ...] = field(default_factory=tuple)
