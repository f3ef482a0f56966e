"""`ragstone migrate`: what an init container runs before the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ragstone.adapters.data_directory import open_data_directory
from ragstone.adapters.data_formats import FORMAT, format_of
from ragstone.adapters.sqlite_schema import MIGRATIONS
from ragstone.adapters.sqlite_version import database_version
from ragstone.cli.migrate import migrate
from ragstone.cli.session import Flags
from tests.support.stored_directories import unpack
from tests.unit.cli.conftest import Ran, Shell

Migrate = Callable[[Path], Awaitable[Ran]]


@pytest.fixture
def run(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Migrate:
    """On a directory, without any model."""

    def unneeded(*_: Any) -> None:
        raise AssertionError("no model is needed")

    monkeypatch.setattr("ragstone.bootstrap.models.embedding_model", unneeded)
    return lambda directory: shell(migrate, as_json=True, flags=Flags(data_dir=directory))


async def test_an_older_directory_is_brought_to_this_format_and_again_changes_nothing(run: Migrate, tmp_path: Path) -> None:
    directory, _ = unpack("format-1", tmp_path)
    for _ in range(2):
        assert (await run(directory)).json == {"data_directory": str(directory), "format": FORMAT, "damaged_indexes": []}
        assert (format_of(directory), database_version(directory / "ragstone.db")) == (FORMAT, len(MIGRATIONS))


async def test_a_directory_that_is_not_there_is_made(run: Migrate, tmp_path: Path) -> None:
    assert (await run(tmp_path / "new" / "data")).status == 0
    assert format_of(tmp_path / "new" / "data") == FORMAT


async def test_a_newer_directory_and_one_in_use_are_refused(run: Migrate, tmp_path: Path) -> None:
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "FORMAT").write_text(f"{FORMAT + 1}\n")
    data = open_data_directory(tmp_path / "used")
    for directory, words in (("newer", "made by a newer ragstone"), ("used", "in use by process")):
        ran = await run(tmp_path / directory)
        assert ran.problem is not None
        assert words in ran.problem["detail"]
    data.close()


async def test_an_index_that_can_not_be_opened_is_for_the_doctor(run: Migrate, tmp_path: Path) -> None:
    directory, _ = unpack("format-1", tmp_path)
    [index] = [folder for folder in (directory / "index").iterdir() if not folder.name.startswith(".")]
    (index / "index.json").write_text("{")
    ran = await run(directory)
    assert (ran.status, ran.json["damaged_indexes"]) == (0, [index.name])
    assert "ragstone doctor" in ran.err
