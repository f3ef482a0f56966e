"""A reranker without a model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragstone.domain.errors import InvalidInput, RagstoneError, Unavailable
from ragstone.domain.reranking import RerankerIdentity

_WORD = re.compile(r"\w+")


class WordOverlapReranker:
    """`Reranker` by the share of the question's words that a text holds, less a little for each other word.

    `error` is raised by every call while it is set. `asked` holds question and texts of each call.
    """

    def __init__(self, *, error: RagstoneError | None = None, name: str = "overlap") -> None:
        self.error = error
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self._identity = RerankerIdentity("fake", name, "1")
        self._closed = False

    @property
    def identity(self) -> RerankerIdentity:
        return self._identity

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        await self.check()
        if texts:
            self.asked.append((question, tuple(texts)))
        if any(not _is_unicode(text) for text in (question, *texts)):
            raise InvalidInput("A text is not valid Unicode: it holds half of a surrogate pair.", field="text")
        words = _words(question)
        return [len(words & _words(text)) / max(len(words), 1) - 0.001 * len(_words(text) - words) for text in texts]

    async def check(self) -> None:
        if self._closed:
            raise Unavailable("The reranker was closed.")
        if self.error:
            raise self.error

    async def close(self) -> None:
        self._closed = True


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)
