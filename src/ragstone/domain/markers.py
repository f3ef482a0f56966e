"""Reads `[n]` markers out of an answer and cuts it into sentences with the passages that each one cites."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ragstone.domain.sentences import split_sentences

_MARKER = re.compile(r"\s{0,8}\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\]")

_OWN_BRACKETS = 4

IsVerbatim = Callable[[str, tuple[int, ...], bool], bool]
"""Whether a text stands word for word in one of the passages with these numbers; if the last argument is true, as a whole sentence of it."""


@dataclass(frozen=True, slots=True)
class CitedSentence:
    """`text` without its markers; `markers` in order of appearance, each once; `verbatim`: a cited passage holds it word for word."""

    text: str
    markers: tuple[int, ...]
    verbatim: bool


@dataclass(frozen=True, slots=True)
class _Marker:
    """Numbers in brackets. `at`: where they stood in the text without markers; `raw`: as written, with the white space before."""

    numbers: tuple[int, ...]
    at: int
    raw: str


def cited_sentences(answer: str, is_verbatim: IsVerbatim) -> tuple[CitedSentence, ...]:
    """The sentences of `answer` in order.

    A marker belongs to the sentence that ends before it, or in which it stands. Numbers in brackets may also be the passage's own (`a[0]`,
    a footnote): where a sentence is verbatim only with them, they are its text. Where the text up to a marker is a whole
    sentence of the passage, one ends there, full stop or not: headings, list items and table rows have none.
    """
    clean, markers = _strip(answer)
    spans = split_sentences(clean)
    limits = [*(start for start, _ in spans[1:]), len(clean)]
    sentences: list[CitedSentence] = []
    position = -1
    for (start, end), limit in zip(spans, limits[: len(spans)], strict=True):
        own = [marker for marker in markers if position < marker.at <= limit]
        sentences += _pieces(clean, start, end, own, is_verbatim)
        position = limit
    return tuple(sentences)


def _strip(answer: str) -> tuple[str, list[_Marker]]:
    """The answer without markers, and the markers with their places in it."""
    parts: list[str] = []
    markers: list[_Marker] = []
    length = position = 0
    for match in _MARKER.finditer(answer):
        before = answer[position : match.start()]
        parts.append(before)
        length += len(before)
        markers.append(_Marker(tuple(int(number) for number in re.findall(r"\d+", match[1])), length, match[0]))
        position = match.end()
    return "".join((*parts, answer[position:])), markers


def _pieces(clean: str, start: int, end: int, markers: list[_Marker], is_verbatim: IsVerbatim) -> list[CitedSentence]:
    """One sentence, or several where the text up to a marker inside it is a sentence of a passage."""
    pieces: list[CitedSentence] = []
    pending: list[_Marker] = []
    begin = start
    for place, marker in enumerate(markers):
        pending.append(marker)
        following = markers[place + 1] if place + 1 < len(markers) else None
        stop = max(begin, min(marker.at, end))
        if not clean[begin:stop].strip() or (following and not clean[marker.at : following.at].strip()):
            continue  # before the text, or one of a run
        last = not clean[stop:end].strip()
        piece = _piece(clean, begin, end if last else stop, pending, is_verbatim, whole=not last)
        if last or piece.verbatim:
            pieces.append(piece)
            pending = []
            begin = stop
            if last:
                return pieces
    if clean[begin:end].strip():
        pieces.append(_piece(clean, begin, end, pending, is_verbatim, whole=False))
    return pieces


def _piece(clean: str, start: int, end: int, markers: list[_Marker], is_verbatim: IsVerbatim, *, whole: bool) -> CitedSentence:
    """With the first i markers taken as text, for the largest i with which it is verbatim; else with none.

    Tried are all but the last and the first few: trying every number would take a minute for an answer of nothing but markers.
    """
    for kept in sorted({len(markers) - 1, *range(min(_OWN_BRACKETS, len(markers)))} - {-1}, reverse=True):
        text = _with_brackets(clean, start, end, markers[:kept])
        cited = _distinct(markers[kept:])
        if is_verbatim(text, cited, whole):
            return CitedSentence(text, cited, verbatim=True)
    return CitedSentence(_squeezed(clean[start:end]), _distinct(markers), verbatim=False)


def _with_brackets(clean: str, start: int, end: int, kept: list[_Marker]) -> str:
    parts = []
    position = start
    for marker in kept:
        at = max(start, min(marker.at, end))
        parts += [clean[position:at], marker.raw]
        position = at
    return _squeezed("".join((*parts, clean[position:end])))


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _distinct(markers: list[_Marker]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(number for marker in markers for number in marker.numbers))
