"""Passages for tests of what comes after the search."""

from __future__ import annotations

from dataclasses import replace

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Snapshot
from ragstone.domain.generation import GenerationRequest
from ragstone.domain.retrieval import Passage
from tests.support.points import point, space


def passage(
    text: str, *, path: str = "a.md", start: int = 0, rank: int = 1, score: float = 1.0, dense: float = 0.5, headings: tuple[str, ...] = ()
) -> Passage:
    """A hit of both lists."""
    return Passage(point(path, text, start=start, heading_path=headings).chunk, score, rank, dense, 1.0, rank, rank)


def passages(*texts: str) -> tuple[Passage, ...]:
    """One per text, each of a document of its own, scores falling from 1."""
    return tuple(
        passage(text, path=f"{rank}.md", rank=rank, score=1 - rank / 10 + 0.1, dense=0.6 - rank / 10) for rank, text in enumerate(texts, 1)
    )


def request(question: str, found: tuple[Passage, ...], **changes: object) -> GenerationRequest:
    """What `Answering` would ask a generator."""
    base = GenerationRequest(question, found, "Answer from the passages.", question, max_tokens=200, temperature=0.0, timeout=5.0)
    return replace(base, **changes)  # type: ignore[arg-type]  # any field


def collection_and_snapshot() -> tuple[Collection, Snapshot]:
    """A collection of one commit, in the space of `tests.support.points`."""
    of = space()
    return Collection("kb", "1", "english", "", 0.0, (of,), 1, of.id), Snapshot("kb", 3, 1, "c" * 40, of.id, frozenset(), was_head=True)
