"""What a tree keeps: ports, secrets, and which servers hold the data."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ragstone.adapters.data_directory import open_data_directory
from ragstone.domain.errors import DataDirectoryError, InvalidInput
from ragstone.services.devtree.programs import MONGO, NATS
from ragstone.services.devtree.state import State, ensure_reached


def test_ports_secrets_and_servers_are_those_of_the_first_start(tmp_path: Path) -> None:
    state = State(tmp_path)
    with state.locked():
        assert state.servers is None
        state.choose([MONGO, NATS])
        port, pair, secret = state.port(MONGO), state.port("Qdrant", pair=True), state.secret("key").read_text()
    again = State(tmp_path)
    with again.locked():
        assert again.servers == [MONGO, NATS]
        assert (again.port(MONGO), again.port("Qdrant", pair=True), again.secret("key").read_text()) == (port, pair, secret)
    assert len(secret) == 40
    assert secret != again.secret("other").read_text()


def test_nobody_else_may_read_any_of_it(tmp_path: Path) -> None:
    state = State(tmp_path / "data")
    with state.locked():
        state.choose([])
        secret = state.secret("key")
    modes = {path.stat().st_mode & 0o777 for path in (secret, state.folder / "profile.json", state.folder / "LOCK")}
    assert modes == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (state.folder, secret.parent)} == {0o700}


def test_a_port_that_is_taken_is_named_with_its_server(tmp_path: Path) -> None:
    state = State(tmp_path)
    with state.locked(), socket.socket() as other:
        port = state.port(MONGO)
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(InvalidInput, match=rf"MongoDB: somebody else listens on 127\.0\.0\.1:{port}"):
            state.port(MONGO)


def test_two_trees_do_not_share_a_directory(tmp_path: Path) -> None:
    with State(tmp_path).locked(), pytest.raises(DataDirectoryError, match="already"), State(tmp_path).locked():
        pass


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"servers": [], "ports": {"x": "y"}}', '{"servers": 1, "ports": {}}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "servers").mkdir()
    (tmp_path / "servers" / "profile.json").write_text(content)
    with pytest.raises(DataDirectoryError, match=r"profile\.json can't be read"), State(tmp_path).locked():
        pass


def test_a_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "servers").write_text("")
    with pytest.raises(DataDirectoryError, match="can't be used"), State(tmp_path).locked():
        pass


def test_data_that_servers_hold_are_not_taken_for_an_empty_directory(tmp_path: Path) -> None:
    ensure_reached(tmp_path, [])  # no profile at all
    state = State(tmp_path)
    with state.locked():
        state.choose([MONGO, "MLflow"])
    ensure_reached(tmp_path, [MONGO])  # a process of the tree
    with pytest.raises(DataDirectoryError, match=r"held by MongoDB; start them with `ragstone up --profile dev`"):
        ensure_reached(tmp_path, [])


def test_a_data_directory_may_hold_the_folder_from_the_start(tmp_path: Path) -> None:
    with State(tmp_path).locked():
        open_data_directory(tmp_path).close()
