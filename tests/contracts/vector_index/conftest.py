"""The indexes that keep what this folder promises: Qdrant Edge, a Qdrant server (with one shard and with two) and the fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.ports.vector_index import VectorIndex
from tests.contracts.vector_index.reading import NAME
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.servers import qdrant
from tests.support.points import space

ADAPTERS: dict[str, Callable[[Path], VectorIndex]] = {
    "edge": lambda folder: QdrantEdgeIndex(folder / "index"),
    "fake": lambda _: InMemoryVectorIndex(),
}


@pytest.fixture(
    params=[*ADAPTERS, pytest.param("qdrant", marks=pytest.mark.servers), pytest.param("qdrant shards", marks=pytest.mark.servers)]
)
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    if request.param in ADAPTERS:
        index = ADAPTERS[request.param](tmp_path)
        yield index
        await index.aclose()
    else:
        shards = 2 if request.param == "qdrant shards" else 1
        remote = qdrant.index(qdrant.server(request.getfixturevalue("qdrant_url"), shard_number=shards))
        yield remote
        await qdrant.dropped(remote)


@pytest.fixture
async def index(empty: VectorIndex) -> VectorIndex:
    await empty.create(NAME, space())
    return empty
