"""The gate in front of questions."""

from __future__ import annotations

import asyncio

import pytest

from ragstone.domain.errors import Busy
from ragstone.services.orchestrator.gate import Gate


async def test_a_place_that_comes_free_goes_to_who_waits() -> None:
    gate = Gate(1, 1, patience=600)
    order: list[str] = []

    async def visit(name: str) -> None:
        async with gate:
            order.append(name)

    async with gate:
        waiting = asyncio.create_task(visit("second"))
        await asyncio.sleep(0)
        assert gate.waiting == 1
        with pytest.raises(Busy):
            await visit("third")
        order.append("first")
    await waiting
    assert (order, gate.waiting) == (["first", "second"], 0)


async def test_patience_ends() -> None:
    gate = Gate(1, 5, patience=0)
    async with gate:
        with pytest.raises(Busy) as turned_away:
            await gate.__aenter__()
    assert turned_away.value.retry_after == 1.0
    async with gate:  # nobody kept the place
        pass


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    gate = Gate(1, 1, patience=600)
    async with gate:
        waiting = asyncio.create_task(gate.__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert gate.waiting == 0
    async with asyncio.timeout(60), gate:
        pass
