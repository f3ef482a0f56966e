"""Which sentences of the retrieved passages bear on a question, before any model has looked at them.

Embedding every sentence of eight passages takes longer than everything else of a query together. So sentences are first ranked by words and by
their passage's place, and only a shortlist is embedded (docs/adr/0008: six lose nothing against all of them).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ragstone.domain.lexical import question_terms, terms
from ragstone.domain.retrieval import Passage, Vector, Vectors
from ragstone.domain.sentences import split_sentences

SHORTLIST = 6
# Weights of a conditional logit over the sentences of a question's passages, rounded; fitted on XQuAD's even articles (docs/adr/0008).
_OWN_WORDS = 4.0
_WORDS_IN_CONTEXT = 3.0
_PASSAGE = 4.5
_COSINE = 5.0
_ANNOUNCED = 240  # characters after a colon that are taken along
_BULLET = re.compile(r"(?:[-*+•‣◦]|\(?\d{1,3}[.)])[ \t]+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """`text == passage.chunk.text[start:end]`; `words` are its content terms."""

    text: str
    start: int
    end: int
    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence of passage `passage` (index into the passages, from 0). `prior`: its score before the embedding model was asked."""

    sentence: Sentence
    passage: int
    heading: str
    prior: float

    @property
    def embedded_text(self) -> str:
        """What stands for the sentence in the embedding space: the innermost heading on a line of its own, then the sentence."""
        return f"{self.heading}\n{self.sentence.text}" if self.heading else self.sentence.text


@dataclass(frozen=True, slots=True)
class Evidence:
    """`shortlist`: best prior first. `coverage`: share (0 to 1) of the question's terms, weighed by rarity, that the best passage holds."""

    shortlist: tuple[Candidate, ...]
    coverage: float


def sentences_of(text: str) -> tuple[Sentence, ...]:
    """The sentences of a chunk's text, without the bullet or number of a list item. Recent texts are remembered."""
    return _sentences_of(text)


def gather(question: str, passages: Sequence[Passage], size: int = SHORTLIST) -> Evidence:
    """The `size` most promising sentences of `passages`.

    A term's weight is its inverse document frequency (Robertson and Sparck Jones) over the sentences at hand: what tells these sentences
    apart, whatever the corpus. A term that stands in the heading or in the sentence before counts as context, for pronouns.
    """
    wanted = question_terms(question)
    rows = [
        (number, sentence, before, heading, words)
        for number, passage in enumerate(passages)
        for heading, words in [_heading(passage.chunk.heading_path)]
        for before, sentence in _with_previous(sentences_of(passage.chunk.text))
    ]
    weight = _rarity(wanted, [sentence.words for _, sentence, _, _, _ in rows])
    total = sum(weight.values()) or 1.0
    best = max((passage.score for passage in passages), default=0.0)
    candidates = []
    for number, sentence, before, heading, words in rows:
        if sentence.words <= wanted and sentence.text[-1:].isalnum():
            continue  # a title in the text's own words, say: it tells the asker nothing
        own = _share(weight, wanted & sentence.words, total)
        context = _share(weight, wanted & (sentence.words | before | words), total)
        place = passages[number].score / best if best > 0 else 0.0
        candidates.append(Candidate(sentence, number, heading, _OWN_WORDS * own + _WORDS_IN_CONTEXT * context + _PASSAGE * place))
    candidates.sort(key=lambda candidate: -candidate.prior)  # stable: equal priors stay in order of rank
    return Evidence(_distinct(candidates, size), _coverage(wanted, passages))


def scores(candidates: Sequence[Candidate], question: Vector, sentences: Vectors) -> list[float]:
    """The final score of each candidate. `question` (d,) and `sentences` (n, d) are L2-normalised."""
    return [
        candidate.prior + _COSINE * float(cosine) for candidate, cosine in zip(candidates, np.asarray(sentences @ question), strict=True)
    ]


@lru_cache(maxsize=2048)
def _sentences_of(text: str) -> tuple[Sentence, ...]:
    found = []
    for start, end in _with_what_follows(text, split_sentences(text)):
        bullet = _BULLET.match(text, start, end)
        begin = bullet.end() if bullet and bullet.end() < end else start
        piece = text[begin:end]
        found.append(Sentence(piece, begin, end, terms(piece)))
    return tuple(found)


def _with_what_follows(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """A sentence that ends in a colon together with what it announces, if that is short and no list: alone it says nothing."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and text[joined[-1][1] - 1] in ":：" and end - start <= _ANNOUNCED and not _BULLET.match(text, start):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


@lru_cache(maxsize=2048)
def _heading(path: tuple[str, ...]) -> tuple[str, frozenset[str]]:
    return (path[-1] if path else ""), frozenset().union(*(terms(heading) for heading in path))


def _with_previous(sentences: Sequence[Sentence]) -> Iterable[tuple[frozenset[str], Sentence]]:
    before: frozenset[str] = frozenset()
    for sentence in sentences:
        yield before, sentence
        before = sentence.words


def _distinct(candidates: Iterable[Candidate], size: int) -> tuple[Candidate, ...]:
    """The first `size`, each text once: versions and templates repeat themselves."""
    kept: dict[str, Candidate] = {}
    for candidate in candidates:
        kept.setdefault(candidate.sentence.text, candidate)
        if len(kept) == size:
            break
    return tuple(kept.values())


def _coverage(wanted: frozenset[str], passages: Sequence[Passage]) -> float:
    held = [
        wanted & frozenset().union(_heading(passage.chunk.heading_path)[1], *(s.words for s in sentences_of(passage.chunk.text)))
        for passage in passages
    ]
    weight = _rarity(wanted, held)
    total = sum(weight.values()) or 1.0
    return max((_share(weight, words, total) for words in held), default=0.0)


def _rarity(wanted: frozenset[str], held: Sequence[frozenset[str]]) -> dict[str, float]:
    weight = {}
    for term in sorted(wanted):  # sorted: sums of floats must not depend on the order of a set
        having = sum(term in words for words in held)
        weight[term] = math.log(1 + (len(held) - having + 0.5) / (having + 0.5))
    return weight


def _share(weight: dict[str, float], terms_held: frozenset[str], total: float) -> float:
    return sum(value for term, value in weight.items() if term in terms_held) / total
