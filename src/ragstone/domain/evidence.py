"""Which sentences of the retrieved passages bear on a question, before any model has looked at them.

Embedding every sentence of eight passages takes longer than everything else of a query together. So sentences are first ranked by words and by
their passage's place, and only a shortlist is embedded (docs/adr/0008: six lose nothing against all of them).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

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


_Row = tuple[int, str, Sentence, frozenset[str], frozenset[str]]  # passage, heading, sentence; question's terms in it, and around it too
_Ranked = tuple[float, int, str, Sentence]  # prior, passage, heading, sentence
_NOTHING: frozenset[str] = frozenset()


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
    rows: list[_Row] = []
    held_by_passage: list[frozenset[str]] = []
    for number, passage in enumerate(passages):
        heading, heading_words = _heading(passage.chunk.heading_path)
        of_heading = wanted & heading_words
        of_passage, before = of_heading, _NOTHING
        for sentence in sentences_of(passage.chunk.text):
            own = wanted & sentence.words
            context = own | before | of_heading if own or before else of_heading
            rows.append((number, heading, sentence, own, context))
            of_passage, before = of_passage | own, own
        held_by_passage.append(of_passage)
    share = _shares(wanted, [own for _, _, _, own, _ in rows], (context for _, _, _, _, context in rows))
    best = max((passage.score for passage in passages), default=0.0)
    places = [_PASSAGE * (passage.score / best if best > 0 else 0.0) for passage in passages]
    ranked = [
        (_OWN_WORDS * share[own] + _WORDS_IN_CONTEXT * share[context] + places[number], number, heading, sentence)
        for number, heading, sentence, own, context in rows
        # a title in the text's own words, say, tells the asker nothing
        if not (sentence.text[-1:].isalnum() and sentence.words <= wanted)
    ]
    ranked.sort(key=itemgetter(0), reverse=True)  # stable: equal priors stay in order of rank
    return Evidence(_distinct(ranked, size), _coverage(wanted, held_by_passage))


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


def _distinct(ranked: Iterable[_Ranked], size: int) -> tuple[Candidate, ...]:
    """The first `size`, each text once: versions and templates repeat themselves."""
    kept: dict[str, Candidate] = {}
    for prior, number, heading, sentence in ranked:
        if sentence.text not in kept:
            kept[sentence.text] = Candidate(sentence, number, heading, prior)
        if len(kept) == size:
            break
    return tuple(kept.values())


def _coverage(wanted: frozenset[str], held: Sequence[frozenset[str]]) -> float:
    return max(_shares(wanted, held).values(), default=0.0)


def _shares(wanted: frozenset[str], held: Sequence[frozenset[str]], others: Iterable[frozenset[str]] = ()) -> dict[frozenset[str], float]:
    """The share (0 to 1) of the wanted terms' weight that each set has. `held`: which of them each sentence, or passage, holds."""
    having = Counter(term for words in held for term in words)
    # sorted: sums of floats must not depend on the order of a set
    weight = {term: math.log(1 + (len(held) - having[term] + 0.5) / (having[term] + 0.5)) for term in sorted(wanted)}
    total = sum(weight.values()) or 1.0
    return {words: sum([value for term, value in weight.items() if term in words]) / total for words in {*held, *others}}
