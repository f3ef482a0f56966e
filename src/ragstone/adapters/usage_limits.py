"""Counts of usage by the `limits` library, in the memory of this process or in any other of its storages."""

from __future__ import annotations

import time
from collections.abc import Sequence

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter

from ragstone.domain.usage import Charge


class CountedUsage:
    """Implements `UsageMeter` over fixed windows. In memory a window begins with the first use in it."""

    def __init__(self, storage: Storage | None = None) -> None:
        self._storage = storage or MemoryStorage()
        self._limiter = FixedWindowRateLimiter(self._storage)

    async def use(self, principal: str, charges: Sequence[Charge]) -> tuple[Charge, float] | None:
        for position, charge in enumerate(charges):
            if await self._limiter.hit(_item(charge), charge.what, principal, cost=charge.amount):
                continue
            for counted in charges[: position + 1]:
                await self._storage.incr(_key(counted, principal), counted.window, -counted.amount)
            ends = (await self._limiter.get_window_stats(_item(charge), charge.what, principal)).reset_time
            return charge, max(1.0, ends - time.time())
        return None

    async def close(self) -> None:
        """Nothing is open."""


def _item(charge: Charge) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(charge.allowed, charge.window)


def _key(charge: Charge, principal: str) -> str:
    return _item(charge).key_for(charge.what, principal)
