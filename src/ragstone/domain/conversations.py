"""Conversations: what was said before a question, and the question that stands without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

REWRITING = "rewriting"  # in `degraded`: the question should have been rewritten and was asked as it is


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What became of a question with `turns` before it. `question`: the one that was asked in its place; None: it was asked as it is, for the `reason` given.

    `prompt`: name/version of the template. `failed`: there is a generator that rewrites, and it did not.
    """

    question: str | None
    prompt: str
    turns: int
    reason: str | None = None
    failed: bool = False
