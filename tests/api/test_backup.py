"""POST /v1/backup."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

import httpx
import pytest

from ragstone.cli.api import ProblemError
from ragstone.cli.connection import in_process
from ragstone.domain.errors import StorageFull
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from ragstone.use_cases.backup import Backups
from ragstone.use_cases.platform import Platform
from tests.api.conftest import Api
from tests.fakes.backup import InMemoryBackup
from tests.fakes.platform import fake_platform


class Full(InMemoryBackup):
    """Has no room."""

    async def copy(self, *_: object) -> None:  # type: ignore[override]  # it never returns
        raise StorageFull("No room.")


@pytest.fixture
def platform() -> Platform:
    return fake_platform()


def backed(platform: Platform, kind: type[InMemoryBackup] = InMemoryBackup) -> tuple[Platform, InMemoryBackup]:
    backup = kind(platform.adapters.catalog)
    return replace(platform, backups=Backups(backup, platform.adapters.catalog, platform.maintenance)), backup


async def test_it_streams_the_archive_and_lets_go_of_the_copy(platform: Platform, settings: Settings) -> None:
    await platform.collections.create("docs")
    whole, backup = backed(platform)
    transport = httpx.ASGITransport(create_app(whole, settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.post("/v1/backup")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"backup of docs", "application/gzip")
    assert answer.headers["content-disposition"].startswith('attachment; filename="ragstone-')
    assert [copy.closed for copy in backup.copies] == [1]


async def test_a_client_that_goes_away_lets_go_of_the_copy_too(platform: Platform, settings: Settings) -> None:
    whole, backup = backed(platform)
    async with in_process(create_app(whole, settings)) as client, aclosing(client.download("POST", "/v1/backup")) as pieces:
        assert await anext(pieces)
    assert [copy.closed for copy in backup.copies] == [1]


async def test_what_is_wrong_is_told_before_the_stream_begins(platform: Platform, settings: Settings) -> None:
    whole, _ = backed(platform, Full)
    async with in_process(create_app(whole, settings)) as client:
        with pytest.raises(ProblemError, match="No room") as refused:
            [piece async for piece in client.download("POST", "/v1/backup")]
    assert refused.value.status == 507


async def test_a_server_without_data_of_its_own_says_so(api: Api) -> None:
    answer = await api.http.post("/v1/backup")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:ragstone:problem:not-found")


async def test_pages_of_other_sites_get_no_backup(api: Api) -> None:
    answer = await api.http.post("/v1/backup", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
