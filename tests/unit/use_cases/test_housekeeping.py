"""Old interactions go, at start and later."""

from __future__ import annotations

import asyncio
import time

from ragstone.domain.errors import Unavailable
from ragstone.domain.interactions import InteractionFilter
from ragstone.use_cases.housekeeping import Housekeeping
from tests.fakes.interaction_log import InMemoryInteractionLog
from tests.support.interactions import interaction


async def test_what_is_too_old_is_deleted() -> None:
    log = InMemoryInteractionLog()
    await log.append(interaction("old", created_at=time.time() - 100))
    await log.append(interaction("new", created_at=time.time() - 10))
    assert await Housekeeping(log, None).tidy() == 0
    assert await Housekeeping(log, 50).tidy() == 1
    assert [one.id for one in await log.page(InteractionFilter())] == ["new"]


async def test_it_begins_at_start_and_survives_a_log_that_is_down() -> None:
    class Down(InMemoryInteractionLog):
        asked = asyncio.Event()

        async def delete_before(self, time: float) -> int:
            self.asked.set()
            raise Unavailable("down")

    log = Down()
    housekeeping = Housekeeping(log, 50)
    housekeeping.start()
    await asyncio.wait_for(log.asked.wait(), 60)
    await asyncio.sleep(0)
    await housekeeping.stop()
