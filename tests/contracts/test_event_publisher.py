"""What every publisher of events promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ragstone.adapters.nats_events import NatsEventPublisher
from ragstone.domain.events import Event
from ragstone.ports.event_publisher import EventPublisher
from tests.fakes.event_publisher import InMemoryEventPublisher
from tests.servers import nats
from tests.support.event_schemas import validator

EVENT = Event("u1.7", "commit.published", "docs", "c0ffee", 1_700_000_000.25, {"message": "“naïve” 汉字", "seq": 7})


@dataclass
class Told:
    """A publisher, and how to read what subscribers of one collection get."""

    publisher: EventPublisher
    read: Callable[[], Awaitable[list[dict[str, Any]]]]


@pytest.fixture(params=["memory", "nats"])
async def told(request: pytest.FixtureRequest) -> AsyncIterator[Told]:
    if request.param == "memory":
        memory = InMemoryEventPublisher()

        async def kept() -> list[dict[str, Any]]:
            return [event.envelope() for event in memory.events]

        yield Told(memory, kept)
        return
    names = nats.names()
    connection = nats.connection(request.getfixturevalue("nats_url"), names)

    async def received() -> list[dict[str, Any]]:
        js = (await connection.client()).jetstream()
        pulling = await js.pull_subscribe("", durable="reader", stream=str(names.events.name))
        messages = await pulling.fetch(1000, timeout=0.5)
        assert {(message.headers or {})["Content-Type"] for message in messages} == {"application/cloudevents+json; charset=utf-8"}
        return [json.loads(message.data) for message in messages]

    yield Told(NatsEventPublisher(connection, names), received)
    await connection.close()


async def test_events_come_whole_and_in_order(told: Told) -> None:
    events = [replace(EVENT, id=f"u1.7.{n}", type="document.changed", subject=f"{n}.txt") for n in range(150)]
    await told.publisher.publish(events)
    await told.publisher.publish([EVENT])
    assert await told.read() == [event.envelope() for event in [*events, EVENT]]


async def test_an_event_that_was_published_a_moment_ago_is_not_told_again(told: Told) -> None:
    await told.publisher.publish([EVENT, replace(EVENT, id="u1.8")])
    await told.publisher.publish([EVENT, replace(EVENT, id="u1.9")])
    assert [event["id"] for event in await told.read()] == ["u1.7", "u1.8", "u1.9"]


async def test_nothing_to_tell_is_fine(told: Told) -> None:
    await told.publisher.publish([])
    await told.publisher.publish([EVENT])
    assert len(await told.read()) == 1


async def test_each_collection_and_type_has_a_subject_of_its_own(nats_url: str) -> None:
    names = nats.names()
    connection = nats.connection(nats_url, names)
    changed = replace(EVENT, id="u2.1.x", type="document.changed", collection="notes-2")
    await NatsEventPublisher(connection, names).publish([EVENT, changed])
    js = (await connection.client()).jetstream()
    info = await js.stream_info(str(names.events.name), subjects_filter=">")
    assert set(info.state.subjects or ()) == {names.event("docs", "commit.published"), names.event("notes-2", "document.changed")}
    await connection.close()


async def test_the_documented_subscriber_goes_on_where_it_was(nats_url: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text("utf-8")
    example: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], example)
    names = nats.names()
    connection = nats.connection(nats_url, names)
    publisher = NatsEventPublisher(connection, names)
    got: list[str] = []

    async def handle(event: dict[str, Any]) -> None:
        validator("cloudevent").validate(event)
        got.append(event["id"])
        seen.set()

    async def idle() -> None:
        """Returns once all is acknowledged and nobody asks for more, as the server sees it; an event that is sent to one who has gone comes again
        only after half a minute."""
        js = (await connection.client()).jetstream()
        while (at := await js.consumer_info(str(names.events.name), "site-builder")).num_ack_pending or at.num_waiting:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.05)

    root = names.event("docs", "x").partition(".")[0]
    try:
        await publisher.publish([EVENT, replace(EVENT, id="u2.1", collection="other")])
        for id_ in ("u1.7", "u1.8"):
            seen = asyncio.Event()
            following = asyncio.create_task(example["follow"](nats_url, "docs", handle, str(names.events.name), root))
            await asyncio.wait_for(seen.wait(), 60)
            await asyncio.sleep(0.1)  # it acknowledges
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            assert got[-1] == id_
            await asyncio.wait_for(idle(), 60)
            await publisher.publish([replace(EVENT, id="u1.8")])
        assert got == ["u1.7", "u1.8"]
    finally:
        await connection.close()
