"""What only a queue behind a network can get wrong: messages that come late."""

from __future__ import annotations

import asyncio

import pytest

from ragstone.adapters import nats_delivery
from ragstone.adapters.nats_queue import NatsJobQueue
from ragstone.domain.errors import RagstoneError
from tests.servers import nats
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.packaged
_PATIENCE = 60.0  # seconds
_FOR_EVER = 3600.0  # seconds: longer than any test


async def test_a_message_that_comes_after_the_request_for_it_has_ended_is_handled_at_once(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not when the server gives it to another, after `ack_wait`."""
    monkeypatch.setattr(nats_delivery, "_LATE", _PATIENCE)
    handled: asyncio.Queue[str] = asyncio.Queue()

    async def handle(collection: str, job: str) -> None:
        await handled.put(job)

    async def give_up(collection: str, job: str, tries: int, error: RagstoneError | None) -> bool:
        raise AssertionError("nothing failed")

    names = nats.names()
    async with Proxy.before(nats_url) as proxy, asyncio.timeout(2 * _PATIENCE):
        near, far = nats.connection(nats_url, names), nats.connection(proxy.url(nats_url), names)
        sender, worker = (NatsJobQueue(each, names, ack_wait=_FOR_EVER) for each in (near, far))
        await worker.start(handle, give_up)
        await sender.enqueue("docs", "first")
        assert await handled.get() == "first"
        proxy.hold(b"CONSUMER.MSG.NEXT")  # it looks for another one
        await proxy.waiting.wait()
        proxy.hold_replies()
        proxy.release()
        await sender.enqueue("docs", "second")
        await asyncio.sleep(1.0)  # twice as long as the server keeps the request
        proxy.through()
        async with asyncio.timeout(_PATIENCE):
            assert await handled.get() == "second"
        await worker.stop(grace=0.0)
        for connection in (near, far):
            await connection.close()
