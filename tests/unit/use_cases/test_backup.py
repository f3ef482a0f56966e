"""Taking a backup: nobody takes anything away meanwhile, and collections may come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest

from ragstone.domain.errors import Conflict, NotFound
from ragstone.use_cases.backup import Backups
from tests.fakes.backup import InMemoryBackup, InMemoryCopy
from tests.support.world import World, fake_world


class Watching(InMemoryBackup):
    """Tells which collections were held while it copied, and has collections come between for so many times."""

    def __init__(self, world: World, disturbed: int) -> None:
        super().__init__(world.platform.adapters.catalog)
        self._world = world
        self._disturbed = disturbed
        self.tries = 0
        self.held: list[str] = []

    async def copy(self, collections: Collection[str]) -> InMemoryCopy:
        self.tries += 1
        if self.tries <= self._disturbed:
            await self._world.platform.collections.create(f"another-{self.tries}")
        held = [name for name in collections if await taken(self._world, name)]
        self.held = sorted(held)
        return await super().copy(collections)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = await fake_world(tmp_path)
    await world.platform.collections.create("docs")
    return world


async def taken(world: World, name: str) -> bool:
    """Whether somebody has the turn of a collection."""

    async def take() -> None:
        async with world.platform.maintenance.exclusive(name):
            pass

    waiting = asyncio.create_task(take())
    await asyncio.wait([waiting], timeout=0.02)
    held = not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return held


def backups(world: World, backup: InMemoryBackup | None) -> Backups:
    return Backups(backup, world.platform.adapters.catalog, world.platform.maintenance)


async def test_every_collection_is_held_while_it_is_copied_and_then_let_go(world: World) -> None:
    backup = Watching(world, disturbed=2)
    await (await backups(world, backup).take()).close()
    assert (backup.tries, backup.held) == (3, ["another-1", "another-2", "docs"])
    assert not any([await taken(world, name) for name in backup.held])


async def test_a_place_where_collections_come_all_the_time_is_a_conflict(world: World) -> None:
    with pytest.raises(Conflict):
        await backups(world, Watching(world, disturbed=100)).take()
    assert not await taken(world, "docs")


async def test_stores_that_are_servers_are_not_backed_up_here(world: World) -> None:
    with pytest.raises(NotFound, match="back up the stores"):
        await backups(world, None).take()
