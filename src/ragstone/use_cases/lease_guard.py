"""Keeps a writer's lease alive while it works, and tells when it is too late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ragstone.domain.collections import Lease
from ragstone.domain.errors import LeaseLost, Unavailable
from ragstone.ports.catalog import Catalog

INDEX_TIMEOUT = 20.0  # seconds; the longest that one index request may take


class LeaseGuard:
    """Renews the lease every third of its life. `check()` comes before each index request.

    Remaining time is counted from before the renewing call was sent, on this process's monotonic clock: never too generous.
    """

    def __init__(self, catalog: Catalog, lease: Lease, acquired_at: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._catalog = catalog
        self._clock = clock
        self._until = acquired_at + lease.ttl
        self._task: asyncio.Task[None] | None = None
        self._lost = False
        self.lease = lease

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def check(self) -> None:
        """Raises `LeaseLost` unless more of the lease is left than an index request may take."""
        if not self._lost and self._until - self._clock() <= INDEX_TIMEOUT:
            await self._renew()
        if self._lost or self._until - self._clock() <= INDEX_TIMEOUT:
            raise LeaseLost("The write lease ran out; the job will be tried again.")

    async def _renew(self) -> None:
        asked = self._clock()
        try:
            self.lease = await self._catalog.renew(self.lease)
        except LeaseLost:
            self._lost = True
        except Unavailable:
            return  # the lease runs on; the next beat or check tries again
        else:
            self._until = asked + self.lease.ttl

    async def _beat(self) -> None:
        while not self._lost:
            await asyncio.sleep(self.lease.ttl / 3)
            await self._renew()
