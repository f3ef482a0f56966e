"""Builds and deletes spaces in the background (DESIGN.md section 4, Spaces; ADR 0028)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from ragstone.domain.builds import UNFINISHED, Build
from ragstone.domain.collections import Collection
from ragstone.domain.errors import Busy, NotFound, RagstoneError
from ragstone.ports.catalog import Catalog
from ragstone.ports.vector_index import VectorIndex
from ragstone.use_cases.maintenance import Maintenance
from ragstone.use_cases.space_filler import SpaceFiller
from ragstone.use_cases.spaces import Spaces

_PERIOD = 2.0  # seconds between looks for something to do
_TTL = 60.0  # seconds that the lock outlives a process that was killed while it filled
_log = logging.getLogger(__name__)


class SpaceBuilder:
    """Fills every space that is being built, a batch at a time, and deletes the indexes of spaces that were dropped `grace` seconds ago.

    Of several processes one builds a collection's space: who holds the lock `space:<uid>`. The lock only spares work: what counts is the lease.
    """

    def __init__(
        self,
        catalog: Catalog,
        index: VectorIndex,
        spaces: Spaces,
        filler: SpaceFiller,
        maintenance: Maintenance,
        holder: str,
        grace: float,
        *,
        period: float = _PERIOD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._index = index
        self._spaces = spaces
        self._filler = filler
        self._maintenance = maintenance
        self._holder = holder
        self._grace = grace
        self._period = period
        self._clock = clock
        self._seen: dict[str, float] = {}  # when this process first saw a build as dropped, by its id
        self._told: dict[str, str] = {}  # what was logged last, by collection
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins; `stop` ends it."""
        self._task = asyncio.create_task(self._build_for_ever(), name="spaces")

    async def stop(self) -> None:
        """Ends it, and waits for what it is at; that is done again later."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def wake(self) -> None:
        """There is something to do."""
        self._wanted.set()

    async def tend(self) -> bool:
        """Looks at every collection once, and does one step for each. Returns whether there is more to do at once."""
        more = False
        for collection in await self._catalog.collections():
            for build in collection.builds:
                if build.state == "dropped":
                    await self._delete(collection, build)
                elif build.state in UNFINISHED:
                    more |= await self._fill(collection, build)
        return more

    async def _fill(self, collection: Collection, build: Build) -> bool:
        if not self._spaces.has(build.space):
            self._tell(collection, f"no process here has the model {build.space.model.name} of the space that is being built")
            return False
        lock = f"space:{collection.uid}"
        try:
            if not await self._catalog.hold(lock, self._holder, _TTL):
                return False
            more = await self._filler.step(collection.name, lambda: self._catalog.hold(lock, self._holder, _TTL))
            if not more:
                await self._index.optimise(collection.index_name(build.space.id))
                await self._catalog.let_go(lock, self._holder)
        except NotFound as error:  # deleted meanwhile, or what was read was pruned
            _log.info("the space of %s is tried again: %s", collection.name, error.message)
            return False
        except Busy:
            return False
        except RagstoneError as error:
            self._tell(collection, error.message)
            return False
        self._told.pop(collection.name, None)
        return more

    async def _delete(self, collection: Collection, build: Build) -> None:
        """The index of a space that nobody is given any more, once nobody who was given it can be at work. A moment counts from when it was seen here."""
        moment = self._clock()
        if moment - self._seen.setdefault(build.id, moment) < self._grace:
            return
        try:
            async with self._maintenance.exclusive(collection.name):
                now = await self._catalog.collection(collection.name)
                known = now.build(build.space.id)
                if now.uid == collection.uid and known is not None and (known.id, known.state) == (build.id, "dropped"):
                    await self._index.drop(now.index_name(build.space.id))
                    await self._catalog.forget_space(now.name, build.space.id)
        except RagstoneError as error:
            self._tell(collection, error.message)
        else:
            del self._seen[build.id]

    def _tell(self, collection: Collection, what: str) -> None:
        """Once, as long as it stays the same."""
        if self._told.get(collection.name) != what:
            self._told[collection.name] = what
            _log.warning("the spaces of %s: %s; it is tried again", collection.name, what)

    async def _build_for_ever(self) -> None:
        while True:
            self._wanted.clear()
            try:
                more = await self.tend()
            except RagstoneError as error:
                _log.warning("spaces could not be looked at (%s); it is tried again", error.message)
                more = False
            except Exception:  # whatever it was, the next turn may fare better
                _log.exception("building spaces failed; it is tried again")
                more = False
            if more:
                await asyncio.sleep(0)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period):
                    await self._wanted.wait()
