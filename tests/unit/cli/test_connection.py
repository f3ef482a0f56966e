"""Which way a command goes to the API."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ragstone.adapters.data_directory import open_data_directory
from ragstone.cli.api import ProblemError
from ragstone.cli.connection import connect
from ragstone.cli.output import Output
from ragstone.cli.serving import listen, url_of
from ragstone.domain.errors import DataDirectoryError, InvalidInput
from ragstone.settings.load import load_settings
from tests.support.server import running


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


async def test_the_key_goes_to_the_server_and_to_no_other(tmp_path: Path) -> None:
    asked: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope["headers"]).get(b"authorization")
        asked.append(given.decode() if given else None)
        await send({"type": "http.response.start", "status": 307, "headers": [(b"location", b"/elsewhere")]})
        await send({"type": "http.response.body"})

    async with running(app) as there:
        for server, key in ((there, "s3cret"), (there, None)):
            async with connect(load_settings(data_dir=tmp_path / "none"), server, Output(), key) as client:
                with suppress(ProblemError):
                    await client.get("/v1/collections")
        data = open_data_directory(tmp_path / "data")
        data.announce(there)
        async with connect(load_settings(data_dir=tmp_path / "data"), None, Output(), "s3cret") as client:
            with suppress(ProblemError):
                await client.get("/v1/collections")
        data.close()
    assert asked == ["Bearer s3cret", None, "Bearer s3cret"]


@pytest.mark.parametrize("address", ["localhost:8642", "ftp://x", "http://", ""])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="--server"):
        async with connect(load_settings(), address or " ", Output()):
            pass


def test_a_socket_is_bound_before_anything_is_loaded() -> None:
    with listen("127.0.0.1", 0) as bound:
        assert url_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"
    with listen("0.0.0.0", 0) as everywhere:  # told as this machine reaches it
        assert url_of(everywhere) == f"http://127.0.0.1:{everywhere.getsockname()[1]}"
        everywhere.listen()
        with pytest.raises(InvalidInput, match="management_port") as taken:
            listen("0.0.0.0", everywhere.getsockname()[1], "management_port")
        assert taken.value.field == "management_port"
    for host in ("no such host", "x" * 300, "\udcff"):
        with pytest.raises(InvalidInput, match="no address"):
            listen(host, 0)
    with pytest.raises(InvalidInput, match="can't be listened on"):
        listen("192.0.2.1", 0)  # nobody's address (RFC 5737)
