"""The catalogs that keep what this folder promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ragstone.adapters.mongo_catalog import MongoCatalog
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.ports.catalog import Catalog
from tests.contracts.catalog.records import SPACE, Clock
from tests.fakes.catalog import InMemoryCatalog
from tests.servers import mongo


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "memory", pytest.param("mongo", marks=pytest.mark.packaged)])
async def catalog(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Catalog]:
    async with AsyncExitStack() as stack:
        adapter: Catalog
        match request.param:
            case "sqlite":
                adapter = SqliteCatalog(tmp_path / "ragstone.db", clock)
            case "memory":
                adapter = InMemoryCatalog(clock)
            case _:
                database = await stack.enter_async_context(mongo.database(request.getfixturevalue("mongo_url")))
                adapter = MongoCatalog(database, mongo.dependency(), clock)
        await adapter.create_collection("docs", "english", "about", SPACE)
        yield adapter
        await adapter.close()
