"""Bodies of interactions, replay and impact."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ragstone.services.orchestrator.schemas.responses import Citation, Commit, Degraded, Form, Release, Time


class Feedback(Form):
    """One person's word on an answer."""

    thumb: int | None
    score: float | None
    comment: str
    tags: list[str]
    created_at: Time


class Interaction(Form):
    """What was logged of a question."""

    id: str
    collection: str
    question: str
    release_id: str
    commit_id: str
    seq: int
    position: int
    space_id: str
    principal: str
    created_at: Time
    request: dict[str, Any] = Field(description="with `replay_of` where it was a replay")
    answer: dict[str, Any]
    passages: list[dict[str, Any]]
    models: dict[str, str]
    timings: dict[str, float]
    feedback: list[Feedback]
    redacted: dict[str, Literal["drop", "hash"]] = Field(description="fields that were not kept as they were")
    purged: bool = Field(description="texts of a purged document were taken out")
    degraded: Degraded


class InteractionsResponse(Form):
    """A page of interactions, newest first; `next` is the `before` of the next one."""

    interactions: list[Interaction]
    next: str | None


class AnswerThen(Form):
    """The answer as it was logged."""

    answer: dict[str, Any]
    created_at: Time
    release_id: str
    models: dict[str, str]
    degraded: Degraded


class AnswerNow(Form):
    """The answer made from the same passages by what answers today. `timings` in milliseconds."""

    answer: dict[str, Any]
    created_at: Time
    release: Release
    models: dict[str, str]
    timings: dict[str, float]
    degraded: Degraded


class CitationChanges(Form):
    """By passage and span."""

    added: list[Citation]
    removed: list[Citation]


class PassagesCompared(Form):
    """Passages of the old answer against those of the new one, by text (or by id alone, where texts were not kept)."""

    identical: bool
    compared: Literal["text", "id"]
    count: int
    differing: list[str] = Field(description="chunk ids")


class RetrievalCompared(Form):
    """What the question finds in the old commit now, against what it found then: ids and order."""

    identical: bool | None = Field(description="null: not looked for; `note` says why")
    chunk_ids: list[str]
    note: str | None


class ReplayResponse(Form):
    """An old answer beside a new one. `id` is the new interaction's."""

    id: str
    replay_of: str
    collection: str
    commit_id: str
    position: int
    question: str
    then: AnswerThen
    now: AnswerNow
    same_release: bool
    diff: str | None = Field(description="unified diff of the texts, a sentence a line; null where the old text was not kept")
    citations: CitationChanges
    passages: PassagesCompared
    retrieval: RetrievalCompared
    logged: Literal["stored", "deferred"]


class AffectedCitation(Form):
    """A citation whose passage is not there any more."""

    citation: Citation
    document: Literal["changed", "removed"]
    old_text: str | None = Field(description="the passage that was answered from; null where it was not kept")
    new_text: str | None = Field(description="the passage of the document that is most like it; null where there is none")


class AffectedAnswer(Form):
    """A logged answer with those of its citations that are affected."""

    id: str
    question: str
    answer: str
    created_at: Time
    commit_id: str
    position: int
    release_id: str
    citations: list[AffectedCitation]


class ImpactResponse(Form):
    """A page of answers, newest first; `next` is the `before` of the next one. `documents`: changed or removed."""

    from_: Commit = Field(alias="from")
    to: Commit
    documents: int
    answers: list[AffectedAnswer]
    next: str | None
