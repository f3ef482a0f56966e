"""Stops asking a server that does not answer, and finds out when it answers again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ragstone.domain.errors import Unavailable
from ragstone.telemetry.metrics import DEPENDENCY_BREAKER

_FAILURES = 5  # one after another open the breaker
_FIRST_PAUSE = 0.5  # seconds; doubled with each probe that fails
_LONGEST_PAUSE = 5.0


class CircuitOpen(Unavailable):
    """Not asked: the server did not answer lately."""


class CircuitBreaker:
    """Closed: calls pass. Open, after some failures in a row: they are refused for a pause. Then one call may try, and decides.

    `clock`: seconds, monotonic. For one event loop.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._failures = 0
        self._pause = _FIRST_PAUSE
        self._closed_until = 0.0  # to callers
        self._probing = False
        self._state = DEPENDENCY_BREAKER.labels(name)
        self._state.set(0)

    @property
    def is_open(self) -> bool:
        """Whether the last calls failed, so that the next may be refused."""
        return self._failures >= _FAILURES

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Around one call. Raises `CircuitOpen` instead of letting it through; `failed` or `answered` is to be called within, unless it is cancelled."""
        probe = self.is_open
        if probe:
            wait = self._closed_until - self._clock()
            if wait > 0 or self._probing:
                raise CircuitOpen(
                    f"{self._name}: it did not answer lately and is not asked now; try again.",
                    field=self._name,
                    retry_after=max(wait, _FIRST_PAUSE),
                )
            self._probing = True
        try:
            yield
        finally:
            if probe:
                self._probing = False

    def answered(self) -> None:
        """The server answered, whatever it said."""
        if self._failures:
            self._failures = 0
            self._pause = _FIRST_PAUSE
            self._state.set(0)

    def failed(self) -> None:
        """The server did not answer, or said that it can't."""
        self._failures += 1
        if self.is_open:
            self._closed_until = self._clock() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._state.set(1)
