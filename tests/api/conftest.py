"""The app over fakes, and clients that talk to it in-process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.domain.commits import Commit
from ragstone.domain.interactions import InteractionFilter
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from ragstone.use_cases.platform import Platform
from tests.fakes.platform import fake_platform

BASE = "http://localhost:8642"


@dataclass
class Api:
    """One app with its platform."""

    http: httpx.AsyncClient
    platform: Platform

    async def ingest(self, *documents: dict[str, Any], collection: str = "handbook", **options: Any) -> dict[str, Any]:
        body = {"collection": collection, "create": True, "documents": list(documents), **options}
        answer = await self.http.post("/ingest", json=body)
        assert answer.status_code in (200, 202), answer.text
        job: dict[str, Any] = answer.json()["job"]
        return job

    async def head(self, collection: str = "handbook") -> Commit | None:
        return await self.platform.adapters.catalog.head(collection)


Start = Callable[[Platform], Any]


@asynccontextmanager
async def serve(platform: Platform, settings: Settings) -> AsyncIterator[Api]:
    """An app over `platform`, started and stopped around it."""
    await platform.start()
    transport = httpx.ASGITransport(create_app(platform, settings), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
        yield Api(http, platform)
    await platform.adapters.queue.stop(1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with serve(fake_platform(), settings) as running:
        yield running


GUIDE = {"path": "guide/start.md", "text": "# Start\n\nInstall the ferry program with one command.\n\nThen open the harbour map."}
FARES = {"path": "fares.txt", "text": "A bicycle ticket costs four crowns.", "metadata": {"team": "sales", "year": 2026}}


@pytest.fixture
async def filled(api: Api) -> Api:
    """`api` with two documents in `handbook`."""
    await api.ingest(GUIDE, FARES)
    return api


async def everything(platform: Platform) -> object:
    """What a refused request must leave as it was: collections, heads, tags, jobs, staged bytes, interactions."""
    adapters = platform.adapters
    collections = await adapters.catalog.collections()
    return (
        collections,
        [(await adapters.catalog.head(one.name), await adapters.catalog.tags(one.name)) for one in collections],
        await adapters.catalog.jobs(),
        await adapters.staging.jobs(),
        await adapters.interactions.page(InteractionFilter()),
    )
