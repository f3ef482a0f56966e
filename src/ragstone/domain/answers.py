"""Answers, their citations, and the events of which both the JSON and the SSE form are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from ragstone.domain.retrieval import Passage

GENERATION = "generation"  # in `Answer.degraded`


@dataclass(frozen=True, slots=True)
class Citation:
    """Ties a sentence to a passage. `marker` is the number in `[n]`. `start`, `end`: characters in the document's extracted text.

    For a verbatim sentence the span is the sentence's own; otherwise the passage's. `quote` is the text of that span.
    """

    marker: int
    chunk_id: str
    path: str
    heading_path: tuple[str, ...]
    start: int
    end: int
    page: int | None
    commit_id: str  # the commit that the answer was read from
    quote: str
    score: float


@dataclass(frozen=True, slots=True)
class AnswerSentence:
    """A sentence of the answer after the citation check. `supported`: the passages it cites bear it out."""

    text: str
    markers: tuple[int, ...]
    supported: bool
    support: float  # 0 to 1


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the generator."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """`grounded`: share of the answer's sentences that are supported, 0 to 1. `abstained`: the knowledge base does not hold an answer.

    `degraded`: what did not answer, so that this answer was written without it (`GENERATION`).
    """

    text: str
    abstained: bool
    grounded: float
    answerability: float
    sentences: tuple[AnswerSentence, ...]
    citations: tuple[Citation, ...]
    usage: Usage = field(default_factory=Usage)
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PassagesFound:
    """First event: what the answer will be made from."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class TextWithdrawn:
    """No text so far counts: its generator broke off. What comes after it is another answer, from its beginning."""


@dataclass(frozen=True, slots=True)
class AnswerDone:
    """Last event: the checked answer."""

    answer: Answer


AnswerEvent = PassagesFound | TextDelta | TextWithdrawn | AnswerDone
