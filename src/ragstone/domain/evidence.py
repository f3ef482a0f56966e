"""Which sentences of the retrieved passages bear on a question, before any model has looked at them.

Embedding every sentence of eight passages takes longer than everything else of a query together. So sentences are first ranked by words and by
their passage's place, and only a shortlist is embedded (docs/adr/0008: six lose nothing against all of them).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
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


_Ranked = tuple[float, int, int, str, Sentence]  # minus the prior; passage, place in it; heading, sentence
_ORDER = itemgetter(0, 1, 2)  # equal priors in order of rank and text


@dataclass(frozen=True, slots=True)
class Evidence:
    """`shortlist`: best prior first. `coverage`: share (0 to 1) of the question's terms, weighed by rarity, that the best passage holds."""

    shortlist: tuple[Candidate, ...]
    coverage: float


@dataclass(frozen=True, slots=True)
class _Indexed:
    """The sentences of a text; in which of them (from 0) each term stands; which of them end without a mark."""

    sentences: tuple[Sentence, ...]
    places: dict[str, list[int]]
    unmarked: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Held:
    """What a passage has of the question's terms. A set of these is a number: bit i stands for the ith of them in order.

    `own`: by sentence, where there are any. `counts`: in how many sentences each term stands. `terms`: in sentences or heading.
    """

    sentences: tuple[Sentence, ...]
    unmarked: frozenset[int]
    heading: str
    heading_terms: int
    own: dict[int, int]
    counts: list[int]
    terms: int


def sentences_of(text: str) -> tuple[Sentence, ...]:
    """The sentences of a chunk's text, without the bullet or number of a list item. Recent texts are remembered."""
    return _indexed(text).sentences


def gather(question: str, passages: Sequence[Passage], size: int = SHORTLIST) -> Evidence:
    """The `size` most promising sentences of `passages`.

    A term's weight is its inverse document frequency (Robertson and Sparck Jones) over the sentences at hand: what tells these sentences
    apart, whatever the corpus. A term that stands in the heading or in the sentence before counts as context, for pronouns.
    """
    wanted = sorted(question_terms(question))
    held = [_held(passage, wanted) for passage in passages]
    share = _Shares([sum(counts) for counts in zip(*(of.counts for of in held), strict=True)], sum(len(of.sentences) for of in held))
    best = max((passage.score for passage in passages), default=0.0)
    places = [_PASSAGE * (passage.score / best if best > 0 else 0.0) for passage in passages]
    ranked = [row for number, of in enumerate(held) for row in _near_words(number, of, share, places[number])]
    ranked.sort(key=_ORDER)
    shortlist = _distinct(ranked, size)
    enough = shortlist[-1].prior if len(shortlist) == size else 0.0
    others = [row for number, of in enumerate(held) for row in _others(number, of, share, places[number], size, enough)]
    if others:
        shortlist = _distinct(sorted(ranked + others, key=_ORDER), size)
    passage_share = _Shares([sum(of.terms >> bit & 1 for of in held) for bit in range(len(wanted))], len(held))
    return Evidence(shortlist, max((passage_share(of.terms) for of in held), default=0.0))


def scores(candidates: Sequence[Candidate], question: Vector, sentences: Vectors) -> list[float]:
    """The final score of each candidate. `question` (d,) and `sentences` (n, d) are L2-normalised."""
    return [
        candidate.prior + _COSINE * float(cosine) for candidate, cosine in zip(candidates, np.asarray(sentences @ question), strict=True)
    ]


@lru_cache(maxsize=2048)
def _indexed(text: str) -> _Indexed:
    found: list[Sentence] = []
    places: dict[str, list[int]] = {}
    for start, end in _with_what_follows(text, split_sentences(text)):
        bullet = _BULLET.match(text, start, end)
        begin = bullet.end() if bullet and bullet.end() < end else start
        piece = text[begin:end]
        words = terms(piece)
        for word in words:
            places.setdefault(word, []).append(len(found))
        found.append(Sentence(piece, begin, end, words))
    return _Indexed(tuple(found), places, frozenset(at for at, sentence in enumerate(found) if sentence.text[-1:].isalnum()))


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


def _held(passage: Passage, wanted: Sequence[str]) -> _Held:
    """Looked up term by term: most sentences hold none."""
    heading, heading_words = _heading(passage.chunk.heading_path)
    indexed = _indexed(passage.chunk.text)
    own: dict[int, int] = {}
    counts = []
    heading_terms = all_terms = 0
    for bit, term in enumerate(wanted):
        places = indexed.places.get(term, ())
        counts.append(len(places))
        for at in places:
            own[at] = own.get(at, 0) | 1 << bit
        if places:
            all_terms |= 1 << bit
        if term in heading_words:
            heading_terms |= 1 << bit
    return _Held(indexed.sentences, indexed.unmarked, heading, heading_terms, own, counts, all_terms | heading_terms)


def _near_words(number: int, held: _Held, share: _Shares, place: float) -> Iterator[_Ranked]:
    """The sentences that hold a wanted term, or follow one that does."""
    own, sentences = held.own, held.sentences
    for at in {*own, *[at + 1 for at in own]}:
        if at == len(sentences) or (at in held.unmarked and len(sentences[at].words) <= own.get(at, 0).bit_count()):
            continue  # a title in the text's own words, say: it tells the asker nothing
        terms_here = own.get(at, 0)
        prior = _OWN_WORDS * share(terms_here) + _WORDS_IN_CONTEXT * share(terms_here | own.get(at - 1, 0) | held.heading_terms) + place
        yield -prior, number, at, held.heading, sentences[at]


def _others(number: int, held: _Held, share: _Shares, place: float, size: int, enough: float) -> Iterator[_Ranked]:
    """The first `size` different ones of the other sentences, all of the same prior; none if that is below `enough`."""
    prior = _WORDS_IN_CONTEXT * share(held.heading_terms) + place
    if prior < enough:
        return
    different: set[str] = set()
    for at, sentence in enumerate(held.sentences):
        if at in held.own or at - 1 in held.own or (at in held.unmarked and not sentence.words) or sentence.text in different:
            continue
        different.add(sentence.text)
        yield -prior, number, at, held.heading, sentence
        if len(different) == size:
            return


def _distinct(ranked: Iterable[_Ranked], size: int) -> tuple[Candidate, ...]:
    """The first `size`, each text once: versions and templates repeat themselves."""
    kept: dict[str, Candidate] = {}
    for prior, number, _, heading, sentence in ranked:
        if sentence.text not in kept:
            kept[sentence.text] = Candidate(sentence, number, heading, -prior)
        if len(kept) == size:
            break
    return tuple(kept.values())


class _Shares:
    """The share (0 to 1) of the wanted terms' weight that a set of them has. `counts`: in how many of `total` texts each term stands."""

    def __init__(self, counts: Sequence[int], total: int) -> None:
        self._weights = [math.log(1 + (total - count + 0.5) / (count + 0.5)) for count in counts]
        self._sum = sum(self._weights) or 1.0
        self._known = {0: 0.0}

    def __call__(self, terms_held: int) -> float:
        share = self._known.get(terms_held)
        if share is None:
            share = sum([weight for bit, weight in enumerate(self._weights) if terms_held >> bit & 1]) / self._sum
            self._known[terms_held] = share
        return share
