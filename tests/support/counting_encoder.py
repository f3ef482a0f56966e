"""An `Encoder` whose batches a test holds back, counts and spoils."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity

PATIENCE = 60.0  # seconds


class CountingEncoder:
    """A text is as many tokens as it has words, each the word's number; its vector is made of sum, count and first token, so that no two texts share one. `batches` holds what it was given.

    `hold` makes batches wait until `go`; `spoil` is called with the rows before they are embedded, and may raise.
    """

    special_tokens = 0

    def __init__(self, spoil: Callable[[Sequence[Sequence[int]]], None] = lambda _: None) -> None:
        self.identity = ModelIdentity("counting", "1", "00" * 32, 3, "mean", 1000)
        self.batches: list[list[list[int]]] = []
        self.closed = False
        self.spoil = spoil
        self.began = threading.Semaphore(0)
        self._gate = threading.Event()
        self._gate.set()

    def hold(self) -> None:
        self._gate.clear()

    def go(self) -> None:
        self._gate.set()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int(word) for word in text.split()] for text in texts]

    def forward(self, rows: Sequence[Sequence[int]]) -> Vectors:
        self.batches.append([list(row) for row in rows])
        self.began.release()
        assert self._gate.wait(PATIENCE)
        self.spoil(rows)
        return np.array([(sum(row), len(row), row[0]) for row in rows], np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(row) for row in self.encode(texts)]

    def close(self) -> None:
        self.closed = True
