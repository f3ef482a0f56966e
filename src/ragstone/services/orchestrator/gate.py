"""A bound on what runs at once, with a bounded queue before it."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

from ragstone.domain.errors import Busy

_WINDOW = 1.0  # seconds, over which load is measured
_LONGEST = 30.0  # seconds that a client is sent away for


class Gate:
    """Lets `limit` in at a time. `queue` more may wait, `patience` seconds each; others get `Busy` at once, with the time after which it may be better."""

    def __init__(self, limit: int, queue: int, patience: float = 2.0) -> None:
        self._places = asyncio.Semaphore(limit)
        self._queue = queue
        self._patience = patience
        self._since = time.monotonic()
        self._left = self._refused = 0  # in this window
        self._retry_after = 1.0
        self.waiting = 0

    @property
    def full(self) -> bool:
        """Whether the next one would be refused."""
        return self.waiting >= self._queue and self._places.locked()

    def refuse(self) -> Busy:
        """The error for one that is not let in."""
        self._refused += 1
        self._measure()
        return Busy("The server is busy with other requests; try again shortly.", retry_after=self._retry_after)

    async def __aenter__(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        if self.waiting >= self._queue:
            raise self.refuse()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError:
            raise self.refuse() from None
        finally:
            self.waiting -= 1

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._left += 1
        self._measure()
        self._places.release()

    def _measure(self) -> None:
        """Once a window: the seconds in which those that were refused in it could have been served."""
        now = time.monotonic()
        if now - self._since >= _WINDOW:
            served = max(self._left / (now - self._since), 1 / _LONGEST)
            # Those who come back count again in each window of their waiting, so what they were told goes into the next estimate.
            self._retry_after = min(_LONGEST, max(1.0, self._refused / (now - self._since) * self._retry_after / served))
            self._since, self._left, self._refused = now, 0, 0
