"""Models as a service holds them: with a version, and replaceable while requests run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ragstone.adapters.batching_embedder import BatchingEmbedder
from ragstone.adapters.onnx_reranker import OnnxReranker


@dataclass(frozen=True, slots=True)
class ServedEmbedder:
    """`version`: as its source counts (the registry's number, the hub's commit, a hash of the directory's small files). `source`: where it came from, for people."""

    embedder: BatchingEmbedder
    version: str
    source: str

    async def close(self) -> None:
        """Ends its threads."""
        await asyncio.to_thread(self.embedder.close)


@dataclass(frozen=True, slots=True)
class ServedReranker:
    """As `ServedEmbedder`."""

    reranker: OnnxReranker
    version: str
    source: str

    async def close(self) -> None:
        """Ends its threads."""
        await self.reranker.close()


class _Served(Protocol):
    async def close(self) -> None: ...


M = TypeVar("M", bound=_Served)


@dataclass(slots=True, eq=False)
class _Place(Generic[M]):
    model: M
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)


class ModelSlot(Generic[M]):
    """The model that is served now. For one event loop."""

    def __init__(self, first: M) -> None:
        self._place = _Place(first)

    @property
    def now(self) -> M:
        """To be looked at; `use` keeps it open."""
        return self._place.model

    @contextmanager
    def use(self) -> Iterator[M]:
        """The model of now, for one request: it stays open until the block ends, whatever is served by then."""
        place = self._place
        place.users += 1
        try:
            yield place.model
        finally:
            place.users -= 1
            if not place.users:
                place.unused.set()

    async def swap(self, new: M) -> None:
        """From now on requests get `new`. Returns when those of the one before have ended, and it is closed."""
        old, self._place = self._place, _Place(new)
        while old.users:  # nobody enters it any more
            old.unused.clear()
            await old.unused.wait()
        await old.model.close()

    async def close(self) -> None:
        """Closes what is served."""
        await self._place.model.close()
