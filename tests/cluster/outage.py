"""How long a service was away: asked again and again from outside, by a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

_PAUSE = 0.1  # seconds between two questions


class Watch:
    """`ask` is called about ten times a second; it raises `httpx.HTTPError` or returns False when there was no answer."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outage-watch", daemon=True)
        self._last_good = time.monotonic()
        self.longest = 0.0
        self.answered = 0
        self.failed = 0

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE):
            try:
                good = self._ask()
            except httpx.HTTPError:
                good = False
            now = time.monotonic()
            if good:
                self.longest = max(self.longest, now - self._last_good)
                self._last_good = now
                self.answered += 1
            else:
                self.failed += 1

    @contextmanager
    def running(self) -> Iterator[Watch]:
        """Watches within. Afterwards `longest` is the longest time (seconds) from one answer to the next; an outage that lasts counts too."""
        self._last_good = time.monotonic()
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(60)
            self.longest = max(self.longest, time.monotonic() - self._last_good)
