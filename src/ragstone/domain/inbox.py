"""What people put into the version store themselves, to be ingested."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PushedDocument:
    """A document that was put or changed. `size` in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Push:
    """What is new in an inbox up to its commit `tip`, by whom and with which message its last commit was made. In order of path."""

    tip: str
    author: str
    message: str
    puts: tuple[PushedDocument, ...]
    removes: tuple[str, ...]
