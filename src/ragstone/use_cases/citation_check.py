"""Ties each sentence of an answer to the passages that it cites, or flags it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ragstone.domain.answers import AnswerSentence, Citation
from ragstone.domain.evidence import Sentence, sentences_of
from ragstone.domain.lexical import negated, numbers, terms
from ragstone.domain.markers import CitedSentence, cited_sentences
from ragstone.domain.retrieval import Passage, Vectors
from ragstone.ports.embedding_model import EmbeddingModel

SUPPORTED_FROM = 0.6  # mean of shared words and best cosine; chosen in docs/adr/0008
_COMPARED = 4  # sentences of the cited passages that are embedded for one sentence of the answer


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """`grounded`: share of the sentences that are supported, 0 to 1; 0 when there are none."""

    sentences: tuple[AnswerSentence, ...]
    citations: tuple[Citation, ...]
    grounded: float


@dataclass(frozen=True, slots=True)
class _Verdict:
    support: float
    supported: bool
    spans: tuple[tuple[int, int, int], ...]  # (marker, start, end) in the passage's text


class CitationCheck:
    """Checks answers of any generator.

    A sentence that stands word for word in a passage it cites is supported. Another one is when it shares enough words and meaning
    with what it cites, every number in it stands there, and the nearest sentence is negated exactly when it is. A sentence that cites nothing,
    or only passages that do not exist, is not. It is a filter against invention, not a proof: "A beat B" and "B beat A" look the same to it.
    """

    def __init__(self, embedder: EmbeddingModel) -> None:
        self._embedder = embedder

    async def check(self, answer: str, passages: Sequence[Passage], commit_id: str) -> CheckedAnswer:
        """`passages` as numbered for the generator, from 1. `commit_id`: the commit that they were read from. Markers that name none are dropped."""

        def is_verbatim(text: str, numbered: tuple[int, ...], whole: bool) -> bool:
            return any((_is_sentence if whole else _find)(text, passage) for _, passage in _existing(numbered, passages))

        cited = cited_sentences(answer, is_verbatim)
        verdicts = await self._verdicts(cited, passages)
        sentences, citations = [], {}
        for sentence, verdict in zip(cited, verdicts, strict=True):
            markers = tuple(marker for marker, _ in _existing(sentence.markers, passages))
            sentences.append(AnswerSentence(sentence.text, markers, verdict.supported, round(verdict.support, 4)))
            for marker, start, end in verdict.spans:
                citations[marker, start, end] = _citation(marker, passages[marker - 1], start, end, commit_id)
        grounded = sum(sentence.supported for sentence in sentences) / len(sentences) if sentences else 0.0
        return CheckedAnswer(tuple(sentences), tuple(citations.values()), grounded)

    async def _verdicts(self, sentences: Sequence[CitedSentence], passages: Sequence[Passage]) -> list[_Verdict]:
        """One a sentence; everything that has to be embedded goes in one call."""
        verdicts: list[_Verdict | None] = []
        compared: dict[int, list[Sentence]] = {}
        for place, sentence in enumerate(sentences):
            existing = _existing(sentence.markers, passages)
            verdicts.append(_without_model(sentence, existing))
            if verdicts[-1] is None:
                compared[place] = _nearest(sentence.text, [passage for _, passage in existing])
        texts = [text for place, near in compared.items() for text in (sentences[place].text, *(other.text for other in near))]
        vectors = await self._embedder.embed_passages(texts) if texts else None
        row = 0
        for place, near in compared.items():
            assert vectors is not None  # noqa: S101 - there is a text for every entry of `compared`
            verdicts[place] = _by_likeness(sentences[place], _existing(sentences[place].markers, passages), near, vectors[row:])
            row += 1 + len(near)
        return [verdict for verdict in verdicts if verdict is not None]


def _without_model(sentence: CitedSentence, existing: Sequence[tuple[int, Passage]]) -> _Verdict | None:
    """What can be told without embedding anything; None when it cannot."""
    if not existing:
        return _Verdict(0.0, supported=False, spans=())
    if sentence.verbatim:
        spans = tuple((marker, *span) for marker, passage in existing if (span := _find(sentence.text, passage)))
        return _Verdict(1.0, supported=True, spans=spans)
    return None


def _by_likeness(sentence: CitedSentence, existing: Sequence[tuple[int, Passage]], near: Sequence[Sentence], vectors: Vectors) -> _Verdict:
    """`vectors`: that of the sentence, then one for each of `near`."""
    wanted = terms(sentence.text)
    texts = [" ".join((*passage.chunk.heading_path, passage.chunk.text)) for _, passage in existing]
    held = frozenset().union(*(terms(text) for text in texts))
    words = len(wanted & held) / len(wanted) if wanted else 0.0
    cosines = [float(cosine) for cosine in vectors[1 : 1 + len(near)] @ vectors[0]]
    support = min(1.0, (words + max(0.0, *cosines)) / 2) if cosines else 0.0
    invented = numbers(sentence.text) - numbers(" ".join(texts))
    nearest = near[cosines.index(max(cosines))].text if cosines else ""
    supported = support >= SUPPORTED_FROM and not invented and negated(sentence.text) == negated(nearest)
    return _Verdict(support, supported, tuple((marker, 0, len(passage.chunk.text)) for marker, passage in existing))


def _existing(markers: Iterable[int], passages: Sequence[Passage]) -> list[tuple[int, Passage]]:
    return [(marker, passages[marker - 1]) for marker in markers if 1 <= marker <= len(passages)]


def _nearest(text: str, passages: Sequence[Passage]) -> list[Sentence]:
    """The sentences that share the most words with `text`."""
    wanted = terms(text)
    found = [sentence for passage in passages for sentence in sentences_of(passage.chunk.text)]
    found.sort(key=lambda sentence: -len(wanted & sentence.words))
    return found[:_COMPARED]


def _is_sentence(text: str, passage: Passage) -> bool:
    return any(text == " ".join(sentence.text.split()) for sentence in sentences_of(passage.chunk.text))


def _find(text: str, passage: Passage) -> tuple[int, int] | None:
    """Where `text` (white space squeezed) stands in the passage's text, in whole words and not cut out of its negation."""
    for start, end in _occurrences(text, passage.chunk.text):
        if _whole(passage.chunk.text, start, end) and not _loses_negation(passage, start, end):
            return start, end
    return None


def _occurrences(text: str, held: str) -> Iterator[tuple[int, int]]:
    """Spans of `text` in `held`, whatever white space stands between its words there."""
    at = held.find(text) if text else -1
    while at >= 0:
        yield at, at + len(text)
        at = held.find(text, at + 1)
    if text and text in " ".join(held.split()):
        yield from (match.span() for match in re.finditer(r"\s+".join(map(re.escape, text.split())), held))


def _loses_negation(passage: Passage, start: int, end: int) -> bool:
    """Whether the sentences around the span are negated and the span is not: "allowed" cut out of "it is not allowed"."""
    text = passage.chunk.text
    if negated(text[start:end]):
        return False
    return any(sentence.start < end and start < sentence.end and negated(sentence.text) for sentence in sentences_of(text))


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no word is cut at either end."""
    return not (text[start - 1 : start + 1].isalnum() and start) and not (text[end - 1 : end + 1].isalnum() and end < len(text))


def _citation(marker: int, passage: Passage, start: int, end: int, commit_id: str) -> Citation:
    chunk = passage.chunk
    return Citation(
        marker=marker,
        chunk_id=chunk.id,
        path=chunk.path,
        heading_path=chunk.heading_path,
        start=chunk.start + start,
        end=chunk.start + end,
        page=chunk.page,
        commit_id=commit_id,
        quote=chunk.text[start:end],
        score=passage.score,
    )
