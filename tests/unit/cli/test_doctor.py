"""`ragstone doctor`: plain words, JSON, exit statuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import typer

from ragstone.cli.client import Client
from ragstone.cli.doctor import LEFT, doctor
from ragstone.cli.session import Flags, Session
from ragstone.domain.errors import DataDirectoryError
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.support.checkup import change, upload
from tests.unit.cli.conftest import Shell


@pytest.fixture
async def damaged(shell: Shell) -> Shell:
    """Two points lost, and a branch that someone else moved on."""
    await shell.world.platform.collections.create("docs")
    await change(shell.world.platform, upload("a.txt", "ferry"), upload("b.txt", "lamp"))
    index = shell.world.platform.adapters.index
    assert isinstance(index, InMemoryVectorIndex)
    ((_, held),) = index._indexes.items()
    held.points.clear()
    return shell


async def test_a_healthy_platform_exits_with_0(shell: Shell) -> None:
    ran = await shell(doctor)
    assert ran.status == 0
    assert ran.out.splitlines()[-1] == "Healthy."


async def test_findings_are_told_in_words_and_exit_with_3(damaged: Shell) -> None:
    ran = await damaged(doctor)
    assert ran.status == LEFT
    assert "a.txt (#1)" in ran.out
    assert "missing-points: Passages of the document can't be found." in ran.out
    assert "--repair: Writes them anew" in ran.out
    assert "2 findings left." in ran.out


async def test_a_repair_that_leaves_nothing_exits_with_0(damaged: Shell) -> None:
    ran = await damaged(doctor, repair=True)
    assert ran.status == 0
    assert "Healthy again: 2 findings repaired." in ran.out
    assert (await damaged(doctor)).out.splitlines()[-1] == "Healthy."


async def test_json_is_the_report_whole(damaged: Shell) -> None:
    ran = await damaged(doctor, as_json=True, collection="docs")
    assert ran.status == LEFT
    assert (ran.json["healthy"], [one["kind"] for one in ran.json["findings"]]) == (False, ["missing-points"] * 2)


async def test_a_collection_that_is_not_there_is_an_error(shell: Shell) -> None:
    ran = await shell(doctor, collection="absent")
    assert ran.status == 1
    assert ran.problem is not None
    assert ran.problem["status"] == 404


class BrokenSession(Session):
    """A session whose data directory can't be opened."""

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        raise DataDirectoryError("the FORMAT file is damaged; restore the directory from a backup.")
        yield


async def test_a_directory_that_can_not_be_opened_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left:
        await doctor(BrokenSession(Flags()))
    assert left.value.exit_code == LEFT
    out = capsys.readouterr().out
    assert "the FORMAT file is damaged" in out
    assert "Can't be repaired by ragstone" in out
