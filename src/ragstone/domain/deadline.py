"""The time that a request has left, shared by every call below it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_until: ContextVar[float | None] = ContextVar("deadline", default=None)  # on the monotonic clock


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """What runs within has at most `seconds`, and never more than what is around it has left. None: no deadline, for work that outlives its request."""
    until = None if seconds is None else time.monotonic() + seconds
    around = _until.get()
    if until is not None and around is not None:
        until = min(until, around)
    token = _until.set(until)
    try:
        yield
    finally:
        _until.reset(token)


def remaining() -> float | None:
    """Seconds left, 0 when the time is up; None where there is no deadline."""
    until = _until.get()
    return None if until is None else max(0.0, until - time.monotonic())
