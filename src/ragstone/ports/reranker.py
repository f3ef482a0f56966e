"""How well texts answer a question, by a model that reads both together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ragstone.domain.reranking import RerankerIdentity


class Reranker(Protocol):
    """Contract:

    - `score(question, texts)` gives one finite float a text, in the order of the texts; higher is better, and only scores of one question are
      comparable. No texts give no scores, and nothing is asked for them.
    - A text's score does not depend (beyond 1e-4, or 1e-4 of its size where that is more) on the other texts of the call. What is longer than the model reads is cut.
    - Safe to call from several tasks at once; the event loop is not blocked; a cancelled call leaves it usable.
    - Raises `Unavailable` when there are no scores to be had: it does not answer in time, has too much to do, refuses the texts, or gives something
      else than finite scores. `InvalidInput` for text that is not valid Unicode.
    - `check` raises `Unavailable` while it would not answer.
    - `close` ends what it holds; later calls raise `Unavailable`.
    """

    @property
    def identity(self) -> RerankerIdentity: ...

    async def score(self, question: str, texts: Sequence[str]) -> list[float]: ...

    async def check(self) -> None: ...

    async def close(self) -> None: ...
