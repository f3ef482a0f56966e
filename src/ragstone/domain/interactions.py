"""Interactions: each question with its answer, what it was made from, and what people thought of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

PURGED = "[purged]"  # stands where a text of a purged document stood

Logged = Literal["stored", "deferred"]  # in the log, or in a local spool until the log answers again
Treatment = Literal["drop", "hash"]


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
    """One question. `answer` and `passages` are the JSON forms of what was returned; `timings` are in milliseconds. `created_at`: Unix seconds.

    `redacted`: fields that were not kept as they were, with what was done to them. `purged`: texts of a purged document were taken out.
    `degraded`: what the answer had to be made without: `RERANK`, and what `Answer.degraded` holds.
    """

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
    redacted: Mapping[str, Treatment] = field(default_factory=dict)
    purged: bool = False
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InteractionFilter:
    """Which interactions are meant; all that is given holds. `since` and `until`: Unix seconds, `since <= created_at < until`.

    `thumb` and `tag`: some feedback says so. `path`: a passage of that document was used. `chunks`: one of these was cited. `collections`: of one of these.
    """

    collection: str | None = None
    since: float | None = None
    until: float | None = None
    abstained: bool | None = None
    thumb: int | None = None
    tag: str | None = None
    commit_id: str | None = None
    release_id: str | None = None
    path: str | None = None
    chunks: frozenset[str] | None = None
    collections: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class CitedChunk:
    """A chunk that some answer cites."""

    path: str
    chunk_id: str


def cited_chunks(interaction: Interaction) -> frozenset[CitedChunk]:
    """What the answer cites."""
    return frozenset(CitedChunk(citation["path"], citation["chunk_id"]) for citation in interaction.answer.get("citations", ()))


def used_paths(interaction: Interaction) -> frozenset[str]:
    """Documents of the passages and of the citations."""
    return frozenset(part["path"] for part in (*interaction.passages, *interaction.answer.get("citations", ())))


def named_paths(interaction: Interaction) -> frozenset[str]:
    """The same, and what the question's filter names: a condition's value may be a path."""
    values: list[str] = []
    waiting: list[Any] = [interaction.request.get("filter")]
    while waiting:
        match waiting.pop():
            case str(value):
                values.append(value)
            case Mapping() as form:
                waiting += form.values()
            case list() | tuple() as several:
                waiting += several
    return used_paths(interaction).union(values)


def without_document(interaction: Interaction, path: str) -> Interaction:
    """The interaction without any text of the document: its passages and quotes, and the whole answer, which may repeat them anywhere."""
    if path not in used_paths(interaction):
        return interaction
    answer = dict(interaction.answer)
    answer["text"] = PURGED
    answer["sentences"] = [{**sentence, "text": PURGED} for sentence in answer.get("sentences", ())]
    answer["citations"] = [
        _blank(citation, ("quote",)) if citation["path"] == path else citation for citation in answer.get("citations", ())
    ]
    passages = tuple(_blank(passage, ("text", "title")) if passage["path"] == path else passage for passage in interaction.passages)
    request = dict(interaction.request)
    if (rewriting := request.get("rewriting")) and rewriting[
        "question"
    ] is not None:  # written by a generator that had read earlier answers
        request["rewriting"] = {**rewriting, "question": PURGED}
    return replace(interaction, request=request, answer=answer, passages=passages, purged=True)


def _blank(part: Mapping[str, Any], texts: tuple[str, ...]) -> dict[str, Any]:
    blank: dict[str, Any] = dict(part)
    blank.update((name, PURGED) for name in texts if blank.get(name) is not None)
    if "heading_path" in blank:
        blank["heading_path"] = []
    if "metadata" in blank:
        blank["metadata"] = {}
    return blank
