"""What every `UsageMeter` promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from ragstone.adapters.mongo_usage import MongoUsageStorage
from ragstone.adapters.usage_limits import CountedUsage
from ragstone.domain.usage import Charge
from ragstone.ports.usage_meter import UsageMeter
from tests.fakes.usage_meter import InMemoryUsage
from tests.servers import mongo

DAY = 86_400


@pytest.fixture(params=["memory", "fake", pytest.param("mongo", marks=pytest.mark.packaged)])
async def meter(request: pytest.FixtureRequest) -> AsyncIterator[UsageMeter]:
    async with AsyncExitStack() as stack:
        made: UsageMeter
        match request.param:
            case "mongo":
                database = await stack.enter_async_context(mongo.database(request.getfixturevalue("mongo_url")))
                made = CountedUsage(MongoUsageStorage(database, mongo.dependency("usage")))
            case "memory":
                made = CountedUsage()
            case _:
                made = InMemoryUsage()
        yield made
        await made.close()


async def test_what_is_allowed_passes_and_one_more_does_not(meter: UsageMeter) -> None:
    one = Charge("questions", 1, 3, DAY)
    assert [await meter.use("ann", [one]) for _ in range(3)] == [None, None, None]
    for _ in range(3):
        refused = await meter.use("ann", [one])
        assert refused is not None
        assert refused[0] == one
        assert 0 < refused[1] <= DAY
    assert await meter.use("bob", [one]) is None
    assert await meter.use("ann", [Charge("others", 1, 3, DAY)]) is None


async def test_amounts_count_and_what_is_too_much_leaves_room_for_less(meter: UsageMeter) -> None:
    assert await meter.use("ann", [Charge("bytes", 70, 100, DAY)]) is None
    assert await meter.use("ann", [Charge("bytes", 31, 100, DAY)]) is not None
    assert await meter.use("ann", [Charge("bytes", 30, 100, DAY)]) is None
    assert await meter.use("ann", [Charge("bytes", 1, 100, DAY)]) is not None


async def test_all_charges_are_counted_or_none(meter: UsageMeter) -> None:
    both = [Charge("documents", 2, 10, DAY), Charge("bytes", 80, 100, DAY)]
    assert await meter.use("ann", both) is None
    refused = await meter.use("ann", both)
    assert refused is not None
    assert refused[0].what == "bytes"
    assert await meter.use("ann", [Charge("documents", 8, 10, DAY)]) is None


async def test_no_more_pass_at_the_same_time_than_are_allowed(meter: UsageMeter) -> None:
    results = await asyncio.gather(*(meter.use("a/b@c", [Charge("reads", 1, 10, DAY)]) for _ in range(25)))
    assert results.count(None) == 10


@pytest.mark.parametrize("meter", ["memory", pytest.param("mongo", marks=pytest.mark.packaged)], indirect=True)
async def test_a_window_ends(meter: UsageMeter) -> None:
    one = Charge("reads", 1, 1, 1)
    await asyncio.sleep(1.05 - time.time() % 1)  # windows may be those of the clock
    assert await meter.use("ann", [one]) is None
    assert await meter.use("ann", [one]) is not None
    await asyncio.sleep(1.05)
    assert await meter.use("ann", [one]) is None
