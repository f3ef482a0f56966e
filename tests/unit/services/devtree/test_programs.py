"""Which servers can run here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ragstone.services.devtree import programs
from ragstone.services.devtree.programs import LAKEFS, MLFLOW, MONGO, NATS, QDRANT, configured, find
from ragstone.settings.load import load_settings


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, empty; nothing lies beside this Python either."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "elsewhere" / "python"))
    return tmp_path


def program(path: Path, name: str) -> Path:
    (path / name).write_text("#!/bin/sh\n")
    (path / name).chmod(0o755)
    return path / name


def test_what_is_missing_is_told_with_what_takes_its_place(path: Path) -> None:
    found = find()
    assert found.programs == {}
    assert found.missing[QDRANT] == "Qdrant: there is no `qdrant` on PATH; the index is Qdrant Edge, in the process."
    assert "`mongod` or `secantusd-py`" in found.missing[MONGO]
    assert "--mlflow" in found.missing[MLFLOW]


def test_programs_are_found_on_path_and_mongod_comes_before_its_stand_in(path: Path) -> None:
    wanted = {NATS: program(path, "nats-server"), LAKEFS: program(path, "lakefs"), MONGO: program(path, "mongod")}
    program(path, "secantusd-py")
    assert find().programs == wanted


def test_a_server_without_its_client_is_missing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path, "qdrant")
    monkeypatch.setattr(programs, "find_spec", lambda _: None)
    assert "pip install 'ragstone[cluster]'" in find().missing[QDRANT]


def test_the_command_of_mlflows_client_is_no_server() -> None:
    client = Path(sys.executable).with_name("mlflow")  # of mlflow-skinny, which the development environment has
    assert client.exists()
    assert MLFLOW in find(client).missing


def test_servers_of_the_settings_are_known() -> None:
    assert configured(load_settings()) == frozenset()
    assert configured(load_settings(queue={"kind": "nats", "url": "nats://127.0.0.1:1"})) == {NATS}
