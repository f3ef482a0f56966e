"""`ragstone up --profile dev` around its tree: what it says, refuses, and does at a signal. With real processes: tests/servers/test_profile.py."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragstone.cli import profile
from ragstone.cli.connection import connect
from ragstone.cli.session import Flags, Session
from ragstone.cli.up import Profile, up
from ragstone.domain.errors import DataDirectoryError, InvalidInput, NotFound
from ragstone.services.devtree import asking, model_services
from ragstone.services.devtree.programs import MONGO, NATS, Found
from ragstone.services.devtree.state import State
from ragstone.services.devtree.tree import Tree, Wanted
from tests.support.tiny_encoder import make_encoder
from tests.support.tiny_llama import write_tiny_llama


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """With a model that is here; no program is found but those of `found`."""
    monkeypatch.chdir(tmp_path)
    model = make_encoder(tmp_path / "model")
    monkeypatch.setattr(profile, "find", lambda _: Found({NATS: Path("/bin/nats-server")}, {MONGO: "MongoDB: no `mongod`; SQLite."}))
    return Session(Flags(data_dir=tmp_path / "data", model=str(model), json=True))


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A tree that comes up at once, and is then sent a SIGTERM."""
    log: list[str] = []

    async def run(self: Tree, ready: Callable[[], None]) -> None:
        monkeypatch.setattr(
            profile, "facts", lambda _: [{"name": "API", "address": "http://127.0.0.1:1", "pid": 1, "log": "/logs/api.log"}]
        )
        ready()
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        finally:
            log.append("ended")

    monkeypatch.setattr(Tree, "run", run)
    return log


def document(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text)
    return parsed


async def test_it_says_what_runs_and_what_is_missing_and_ends_at_a_signal(
    session: Session, signalled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    await up(session, port=0, profile=Profile.DEV)
    out, err = capsys.readouterr()
    told = document(out)
    assert signalled == ["ended"]
    assert (told["profile"], told["url"]) == ("dev", "http://127.0.0.1:1")
    assert [sentence.partition(":")[0] for sentence in told["missing"]] == ["MongoDB", "embedding"]
    for words in ("MongoDB: no `mongod`; SQLite.", "So one process is API and worker", "Stopping", "Stopped."):
        assert words in err


async def test_the_services_that_run_models_are_started_with_the_tree(
    session: Session, signalled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model_services, "find_spec", lambda name: name)  # this ragstone has all that they need
    (tmp_path / "ragstone.toml").write_text('[generator]\nkind = "llama"\nmodel = "small.gguf"\n')
    with pytest.raises(NotFound, match=r"^generator\.model: There is no GGUF file"):
        await up(session, port=0, profile=Profile.DEV)
    assert not (tmp_path / "data" / "servers").exists()
    write_tiny_llama(tmp_path / "small.gguf")
    wanted: list[Wanted] = []

    class Noted(Tree):
        def choose(self) -> list[str]:
            wanted.append(self._wanted)
            return super().choose()

    monkeypatch.setattr(profile, "Tree", Noted)
    await up(session, port=0, profile=Profile.DEV)
    state = State(tmp_path / "data")
    with state.locked():
        specs = [made(state, asking.http) for made in wanted[0].services]
    assert [spec.name for spec in specs] == ["embedding", "generation"]
    assert specs[1].environment["RAGSTONE_GENERATION_SERVICE__MODEL"] == str(tmp_path / "small.gguf")
    assert document(capsys.readouterr().out)["missing"] == ["MongoDB: no `mongod`; SQLite."]


async def test_people_are_told_in_lines(session: Session, signalled: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    session.output.json_mode = False
    await profile.run_profile(session, session.load_settings(port=0), 1, None)
    err = capsys.readouterr().err
    assert "profile dev" in err
    assert "API   http://127.0.0.1:1" in err
    assert "logs  /logs" in err


async def test_a_role_and_a_port_that_is_taken_are_refused(session: Session) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InvalidInput, match="somebody else listens"):
            await up(session, port=other.getsockname()[1], profile=Profile.DEV)


async def test_commands_do_not_take_the_data_of_servers_for_an_empty_directory(session: Session, tmp_path: Path) -> None:
    state = State(tmp_path / "data")
    with state.locked():
        state.choose([NATS])
    with pytest.raises(DataDirectoryError, match="up --profile dev"):
        async with connect(session.settings, None, session.output):
            pass
    with pytest.raises(DataDirectoryError, match="up --profile dev"):
        await up(session, port=0)
