"""`ragstone keys new`, and what becomes of the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.adapters.key_file import KeyFile
from ragstone.cli import keys
from ragstone.cli.session import Flags, Session
from ragstone.domain.access import Principal, Scope
from ragstone.domain.errors import InvalidInput
from tests.unit.cli.conftest import Shell


async def test_a_key_is_made_that_its_line_lets_in(shell: Shell, tmp_path: Path) -> None:
    made = (await shell(keys.new, "ann", scope=keys.ScopeWord.WRITE, as_json=True)).json
    (tmp_path / "keys").write_text(made["line"])
    assert await KeyFile(tmp_path / "keys").principal(made["key"]) == Principal("ann", Scope.WRITE)
    shown = (await shell(keys.new, "bob")).out
    assert "ragstone_" in shown
    assert "bob:read:" in shown


async def test_a_name_that_no_line_can_hold_is_refused(shell: Shell) -> None:
    ran = await shell(keys.new, "a:b")
    assert ran.problem is not None
    assert ran.problem["field"] == "name"


def test_the_key_for_a_server_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAGSTONE_API_KEY", "RAGSTONE_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    session = Session(Flags())
    assert session.api_key is None
    (tmp_path / "key").write_text("of-a-file\n")
    monkeypatch.setenv("RAGSTONE_API_KEY_FILE", str(tmp_path / "key"))
    assert session.api_key == "of-a-file"
    monkeypatch.setenv("RAGSTONE_API_KEY", "of-the-environment")
    assert session.api_key == "of-the-environment"


@pytest.mark.parametrize("content", ["two words", "line\nbreak", "schlüssel", "\x00"])
def test_what_is_no_key_is_refused_and_not_shown(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAGSTONE_API_KEY", raising=False)
    (tmp_path / "key").write_text(content)
    for file in ("key", "absent"):
        monkeypatch.setenv("RAGSTONE_API_KEY_FILE", str(tmp_path / file))
        with pytest.raises(InvalidInput, match="RAGSTONE_API_KEY") as error:
            _ = Session(Flags()).api_key
        assert content not in error.value.message
