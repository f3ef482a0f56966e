"""What every catalog promises about locks and cursors."""

from __future__ import annotations

import asyncio

from ragstone.ports.catalog import Catalog
from tests.contracts.catalog.records import Clock


async def test_a_lock_has_one_holder_until_it_lets_go_or_its_time_is_over(catalog: Catalog, clock: Clock) -> None:
    assert await catalog.hold("janitor", "a", 10.0)
    assert not await catalog.hold("janitor", "b", 10.0)
    assert await catalog.hold("another", "b", 10.0)
    clock.now += 9
    assert await catalog.hold("janitor", "a", 10.0)  # for longer
    clock.now += 9
    assert not await catalog.hold("janitor", "b", 10.0)
    await catalog.let_go("janitor", "b")  # not the holder
    assert not await catalog.hold("janitor", "b", 10.0)
    clock.now += 2
    assert await catalog.hold("janitor", "b", 10.0)
    assert not await catalog.hold("janitor", "a", 10.0)
    await catalog.let_go("janitor", "b")
    await catalog.let_go("janitor", "b")
    assert await catalog.hold("janitor", "a", 10.0)


async def test_a_lock_that_many_ask_for_goes_to_one(catalog: Catalog) -> None:
    got = await asyncio.gather(*(catalog.hold("janitor", f"h{number}", 10.0) for number in range(8)))
    assert got.count(True) == 1


async def test_a_cursor_never_moves_back(catalog: Catalog) -> None:
    assert await catalog.cursor("events:x") == 0
    await catalog.move_cursor("events:x", 7)
    await catalog.move_cursor("events:x", 5)
    assert await catalog.cursor("events:x") == 7
    assert await catalog.cursor("events:y") == 0
