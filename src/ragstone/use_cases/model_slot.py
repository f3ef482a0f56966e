"""Where a service has its model: replaced while requests run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ragstone.use_cases.alias_follower import Closable

M = TypeVar("M", bound=Closable)


@dataclass(slots=True, eq=False)
class Place(Generic[M]):
    """A model with its users. `begun`: how many of them work with it, as `EngineSlot` counts."""

    model: M
    users: int = 0
    begun: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)


class ModelSlot(Generic[M]):
    """The model that is served now. For one event loop."""

    def __init__(self, first: M) -> None:
        self._place = Place(first)
        self._before: list[Place[M]] = []  # still used by requests that began with it

    @property
    def now(self) -> M:
        """To be looked at; `use` keeps it open."""
        return self._place.model

    @contextmanager
    def use(self) -> Iterator[M]:
        """The model of now, for one request: it stays open until the block ends, whatever is served by then."""
        with self._kept() as place:
            yield place.model

    async def swap(self, new: M) -> None:
        """From now on requests get `new`. Returns when those of the one before have ended, and it is closed; cancelled, it is left to `close`."""
        old, self._place = self._place, Place(new)
        self._before.append(old)
        while old.users:  # nobody enters it any more
            old.unused.clear()
            await old.unused.wait()
        await old.model.close()
        self._before.remove(old)

    async def close(self) -> None:
        """Closes what is served, and what was and has not been closed yet."""
        for place in (*self._before, self._place):
            await place.model.close()

    @contextmanager
    def _kept(self) -> Iterator[Place[M]]:
        place = self._place
        place.users += 1
        try:
            yield place
        finally:
            place.users -= 1
            if not place.users:
                place.unused.set()
