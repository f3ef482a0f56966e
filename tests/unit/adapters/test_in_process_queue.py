"""Pauses of the in-process queue."""

from __future__ import annotations

import asyncio
import logging

import pytest

from ragstone.adapters.in_process_queue import InProcessJobQueue
from ragstone.domain.errors import Unavailable


async def _never(_: str, __: str, ___: int, ____: object) -> bool:
    raise AssertionError("given up too early")


async def test_pauses_grow_up_to_the_longest(caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.Event()
    calls = 0

    async def handler(_: str, __: str) -> None:
        nonlocal calls
        calls += 1
        if calls <= 4:
            raise Unavailable("not now.")
        done.set()

    queue = InProcessJobQueue(first_pause=0.001, longest_pause=0.004)
    with caplog.at_level(logging.WARNING):
        await queue.start(handler, _never)
        await queue.enqueue("docs", "j1")
        await asyncio.wait_for(done.wait(), 60)
        await queue.stop()
    pauses = [record.args[3] for record in caplog.records if isinstance(record.args, tuple)]
    assert pauses == [0.001, 0.002, 0.004, 0.004]


async def test_it_can_be_started_again_and_then_does_what_waited() -> None:
    handled: list[str] = []
    done = asyncio.Event()

    async def handler(_: str, job_id: str) -> None:
        handled.append(job_id)
        done.set()

    queue = InProcessJobQueue()
    await queue.start(handler, _never)
    await queue.stop()
    await queue.enqueue("docs", "j1")
    assert handled == []
    await queue.start(handler, _never)
    await asyncio.wait_for(done.wait(), 60)
    assert handled == ["j1"]
    await queue.stop()
