"""What every backup promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragstone.domain.errors import Busy, Conflict
from ragstone.ports.backup import Backup, BackupCopy
from tests.fakes.backup import InMemoryBackup
from tests.support.world import embedded_world, fake_world

NAMES = ["docs", "notes"]


@pytest.fixture(params=["embedded", "memory"])
async def backup(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backup]:
    world = await (embedded_world if request.param == "embedded" else fake_world)(tmp_path)
    for name in NAMES:
        await world.platform.collections.create(name)
    yield world.platform.adapters.backup or InMemoryBackup(world.platform.adapters.catalog)
    await world.end(world.platform)


async def content(copy: BackupCopy) -> bytes:
    return b"".join([piece async for piece in copy.stream()])


async def test_a_copy_gives_its_bytes_and_lets_go(backup: Backup) -> None:
    copy = await backup.copy(NAMES)
    assert len(await content(copy)) > 10
    for _ in range(2):
        await copy.close()
    unread = await backup.copy(NAMES)
    await unread.close()


@pytest.mark.parametrize("names", [[], ["docs"], [*NAMES, "gone"]])
async def test_other_collections_than_the_caller_knows_are_a_conflict(backup: Backup, names: list[str]) -> None:
    with pytest.raises(Conflict):
        await backup.copy(names)
    await (await backup.copy(NAMES)).close()


async def test_one_at_a_time(backup: Backup) -> None:
    first, second = await asyncio.gather(backup.copy(NAMES), backup.copy(NAMES), return_exceptions=True)
    assert isinstance(second, Busy)
    assert not isinstance(first, BaseException)
    with pytest.raises(Busy):
        await backup.copy(NAMES)
    await first.close()
    await (await backup.copy(NAMES)).close()
