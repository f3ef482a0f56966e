"""Which way a command goes to the API."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ragstone.adapters.data_directory import open_data_directory
from ragstone.cli.connection import connect
from ragstone.cli.output import Output
from ragstone.cli.serving import listen, url_of
from ragstone.domain.errors import DataDirectoryError, InvalidInput
from ragstone.settings.load import load_settings


async def test_an_announced_owner_is_talked_to(tmp_path: Path) -> None:
    data = open_data_directory(tmp_path / "data")
    data.announce("http://127.0.0.1:4711")
    async with connect(load_settings(data_dir=tmp_path / "data"), None, Output()) as client:
        assert client.remote
    async with connect(load_settings(data_dir=tmp_path / "data"), "http://localhost:1", Output()) as client:
        assert client.remote
    data.close()


async def test_an_owner_that_starts_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = open_data_directory(tmp_path / "data")
    asyncio.get_running_loop().call_later(0.15, data.announce, "http://127.0.0.1:4711")
    async with connect(load_settings(data_dir=tmp_path / "data"), None, Output()) as client:
        assert client.remote
    assert capsys.readouterr().err.count("is in use by process") == 1
    data.close()


async def test_an_owner_that_never_answers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.cli.connection._PATIENCE", 0.0)
    data = open_data_directory(tmp_path / "data")
    with pytest.raises(DataDirectoryError, match="in use by process"):
        async with connect(load_settings(data_dir=tmp_path / "data", model=str(tmp_path)), None, Output()):
            pass
    data.close()


@pytest.mark.parametrize("address", ["localhost:8642", "ftp://x", "http://", ""])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="--server"):
        async with connect(load_settings(), address or " ", Output()):
            pass


def test_a_socket_is_bound_before_anything_is_loaded() -> None:
    with listen("127.0.0.1", 0) as bound:
        assert url_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"
    with pytest.raises(InvalidInput, match="can't be listened on"):
        listen("192.0.2.1", 0)  # nobody's address (RFC 5737)
