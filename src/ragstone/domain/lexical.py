"""Words of a text as comparable terms. Used by the choice of evidence and by the citation check; BM25 has its own encoder.

A term is the first six characters of a lower-cased word: prefix stemming, which needs no language and comes close to real stemmers
(McNamee and Mayfield 2004, "Character N-Gram Tokenization"). Chinese and Japanese, which put no spaces between words, give pairs of
characters. Stop words are English; in another language its function words stay in and weigh little, because most sentences hold them.
"""

from __future__ import annotations

import re

_PREFIX = 6
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+")
_PLURAL = re.compile(r"(?:(?<=[a-z]{3})(?<![su])s|'s)$")  # English, for words that are shorter than the prefix
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NEGATIONS = re.compile(r"\b(?:not|no|never|none|neither|nor|without|cannot|nobody|nothing|nowhere)\b|n['’]t\b", re.IGNORECASE)

_ENGLISH = (
    "a about above after again against all also am an and any are as at be because been before being below between both but by can "
    "could did do does doing down during each few for from further had has have having he her here hers him his how i if in into "
    "is it its itself just kind many me more most much my name no nor not now of off on once one only or other our out over own "
    "same she should so some such than that the their them then there these they this those through to too type under until up us "
    "very was we were what when where which while who whom whose why will with would you your"
)
STOP_WORDS = frozenset(_ENGLISH.split())


def terms(text: str) -> frozenset[str]:
    """The distinct content terms of `text`."""
    return frozenset(_terms(text, keep_stop_words=False))


def question_terms(question: str) -> frozenset[str]:
    """The content terms of a question; all its words when every one is a stop word ("Who is who?")."""
    return terms(question) or frozenset(_terms(question, keep_stop_words=True))


def numbers(text: str) -> frozenset[str]:
    """The numbers of `text`, in digits, without thousands separators."""
    return frozenset(_NUMBER.findall(_THOUSANDS.sub("", text)))


def negated(text: str) -> bool:
    """Whether `text` holds an English word of negation."""
    return _NEGATIONS.search(text) is not None


def _terms(text: str, *, keep_stop_words: bool) -> list[str]:
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        if word in STOP_WORDS and not keep_stop_words:
            continue
        if _UNSPACED.search(word):
            found.extend(word[at : at + 2] for at in range(max(1, len(word) - 1)))
        else:
            found.append(_PLURAL.sub("", word.replace("’", "'"))[:_PREFIX])
    return found
