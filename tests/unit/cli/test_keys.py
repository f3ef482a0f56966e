"""`ragstone keys new`, and what becomes of the key."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ragstone.adapters.key_file import KeyFile
from ragstone.cli import keys
from ragstone.cli.session import Flags, Session
from ragstone.domain.access import Grant, Principal, Scope
from ragstone.domain.errors import InvalidInput, Unauthorized
from tests.unit.cli.conftest import Shell


async def test_a_key_is_made_that_its_line_lets_in(shell: Shell, tmp_path: Path) -> None:
    made = (await shell(keys.new, "ann", scope="write", as_json=True)).json
    (tmp_path / "keys").write_text(made["line"])
    assert await KeyFile(tmp_path / "keys").principal(made["key"]) == Principal("ann", Scope.WRITE)
    shown = (await shell(keys.new, "bob")).out
    assert "ragstone_" in shown
    assert "bob:read:" in shown


async def test_a_key_is_rotated_and_the_old_one_counts_for_a_while(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    old = (await shell(keys.new, "ann", scope="docs=write,team-*=read", group=["hr", "legal"], file=file, as_json=True)).json["key"]
    await shell(keys.new, "bob", scope="admin", file=file)
    file.write_text("# ours\n" + file.read_text())
    new = (await shell(keys.rotate, "ann", overlap="1h", file=file, as_json=True)).json["key"]
    assert file.read_text().startswith("# ours\n")
    assert file.stat().st_mode & 0o777 == 0o600
    known = KeyFile(file)
    ann = Principal("ann", None, (Grant("docs", Scope.WRITE), Grant("team-*", Scope.READ)), frozenset({"hr", "legal"}))
    assert await known.principal(new) == await known.principal(old) == ann
    later = KeyFile(file, now=lambda: time.time() + 3601)
    assert await later.principal(new) == ann
    with pytest.raises(Unauthorized, match="expired at"):
        await later.principal(old)
    listed = (await shell(keys.list_, file=file, as_json=True)).json["keys"]
    assert [(one["name"], one["until"] is None) for one in listed] == [("ann", False), ("bob", True), ("ann", True)]
    assert not {old, new} & set(str(listed).split("'"))


async def test_revoked_keys_are_gone_but_never_the_last(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key = (await shell(keys.new, "ann", file=file, as_json=True)).json["key"]
    await shell(keys.new, "bob", file=file)
    assert (await shell(keys.revoke, "ann", file=file, as_json=True)).json["revoked"] == 1
    assert await KeyFile(file).principal(key) is None
    for name in ("bob", "nobody"):
        assert (await shell(keys.revoke, name, file=file)).problem is not None
    assert len(file.read_text().splitlines()) == 1


@pytest.mark.parametrize("scope", ["", "all", "docs", "docs=", "docs=own", "Docs=read", "*docs=read", "docs=read,", "a b=read"])
async def test_what_is_no_scope_is_refused(scope: str, shell: Shell) -> None:
    ran = await shell(keys.new, "ann", scope=scope)
    assert ran.problem is not None
    assert ran.problem["field"] == "scope"


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
