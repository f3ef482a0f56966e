"""Splits text into sentences, as spans. Used by the chunker, the extractive generator and the citation check.

Rules, not a model: they are deterministic, need one pass, and are tuned for English with a fallback that suits any script with
`.`, `!`, `?` or their CJK forms. Abbreviation lists follow those of Punkt and pySBD, cut to what occurs in prose and papers.
"""

from __future__ import annotations

import re

# A candidate border: a run of terminators with the quotes, brackets and footnote marks that close it, before white space or the end;
# a CJK terminator, which needs no white space; or a line break. Linear: a run is tried from its first character only, and the
# quantifiers are possessive.
_BORDER = re.compile(
    r"""(?<![.!?…])(?P<mark>[.!?…]++)(?P<close>["'”’»)\]}*_`]*+(?:\[\d{1,3}\]){0,4}+)(?=\s|\Z)"""
    r"""|[。！？]+[」』”’）]*"""
    r"""|\n"""
)
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+•‣◦]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])[ \t]")
_LAST_WORD = re.compile(r"[^\s(\[{\"'“‘«]*\Z")
_SPACE = re.compile(r"\s*")
_NEXT_WORD = re.compile(r"[\"'“‘«(\[{*_`]{0,8}([^\W_]{0,40})")
_LONGEST_WORD = 40  # characters looked at before a full stop: longer than any abbreviation


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Never end a sentence: something always follows.
_NEVER_LAST = _words(
    "e.g i.e viz cf vs v fig figs eq eqs eqn ref refs sec sect ch chap vol no nos nr p pp pt art para al ca approx "
    "dr mr mrs ms prof rev hon gen col maj capt lt sgt cmdr adm gov sen rep pres st mt ft messrs mme mlle sr "
    "dept est resp incl esp tab suppl ed eds trans"
)
# May end one: a border only before a word that usually begins a sentence. Initials ("J.") and acronyms ("U.S.") are treated the same.
_MAYBE_LAST = _words(
    "inc ltd co corp llc plc jr bros etc a.m p.m am pm jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun "
    "ave blvd rd min max avg temp ph.d m.d b.a m.a b.c a.d b.c.e c.e"
)
_STARTERS = _words(
    "the a an this that these those it its he she they we i you his her their our my your in on at by for from with as after before "
    "during when while where if although though because since however but and so then thus therefore moreover furthermore "
    "there here what who why how some many most all each both several other another such no not one two three to of under "
    "despite according until unlike even only also once"
)


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Spans `(start, end)` of the sentences of `text`, in order, not overlapping, without white space at either end.

    Every character that is not white space lies in exactly one span. Blank lines, list items and table rows always separate. Linear in
    the length of the text.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _BORDER.finditer(text):
        if match.start() >= start and _is_border(text, start, match):
            _append_trimmed(spans, text, start, match.end())
            start = match.end()
    _append_trimmed(spans, text, start, len(text))
    return spans


def _append_trimmed(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        begin = start + len(piece) - len(piece.lstrip())
        spans.append((begin, begin + len(stripped)))


def _is_border(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match["mark"]
    if mark is None:
        return match[0] != "\n" or _breaks_line(text, start, match.end())
    space = _SPACE.match(text, match.end())
    following = _NEXT_WORD.match(text, space.end() if space else match.end())
    word = following[1] if following else ""
    if word and word[0].islower() and not _LIST_ITEM.match(text, match.end()):
        return False
    if mark != "." or match["close"]:
        return True
    return _full_stop_ends(text, start, match.start(), word)


def _breaks_line(text: str, start: int, position: int) -> bool:
    """Whether the line break before `position` separates: a blank line, a list item or a table row follows, or a table row precedes."""
    end = text.find("\n", position, position + 400)
    following = text[position : end if end >= 0 else position + 400]
    if not following.strip() or _LIST_ITEM.match(following) or " | " in following:
        return True
    return " | " in text[max(start, position - 400) : position]


def _full_stop_ends(text: str, start: int, stop: int, next_word: str) -> bool:
    match = _LAST_WORD.search(text[max(start, stop - _LONGEST_WORD) : stop])
    word = match[0] if match else ""
    begin = stop - len(word)
    if _list_number(text, begin, word):
        return False
    bare = word.rstrip(".").lower()
    if bare in _NEVER_LAST:
        return bare == "no" and not next_word[:1].isdigit()  # "He said no." but "No. 5"
    if bare in _MAYBE_LAST or _is_initials(word):
        return not next_word or next_word.lower() in _STARTERS
    return True


def _list_number(text: str, begin: int, word: str) -> bool:
    """Whether `word` is the number of a list item ("1." at the start of a line)."""
    if not (word.isdigit() and len(word) <= 3) and not (len(word) == 1 and word.isalpha()):
        return False
    line = text.rfind("\n", max(0, begin - 40), begin)
    if line < 0 and begin > 40:
        return False
    return not text[line + 1 : begin].strip()


def _is_initials(word: str) -> bool:
    """ "J", "U.S", "J.R.R"."""
    return all(len(part) == 1 and part.isalpha() and part.isupper() for part in word.split(".")) if word else False
