"""Events in a JetStream stream: CloudEvents as JSON, each on a subject of its collection and its type."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from nats.js import JetStreamContext
from nats.js.api import Header

from ragstone.adapters.nats import NatsConnection
from ragstone.adapters.nats_names import Names
from ragstone.domain.events import Event

_AT_ONCE = 64  # events under way before the first is acknowledged


class NatsEventPublisher:
    """Implements `EventPublisher`. The server drops an event whose id it had within the stream's window of duplicates."""

    def __init__(self, connection: NatsConnection, names: Names) -> None:
        self._connection = connection
        self._names = names
        self._stream = str(names.events.name)

    async def publish(self, events: Sequence[Event]) -> None:
        for start in range(0, len(events), _AT_ONCE):
            batch = events[start : start + _AT_ONCE]
            await self._connection.call(lambda js, batch=batch: self._publish(js, batch), retry=True)  # type: ignore[misc]

    async def close(self) -> None:
        """The connection is not ours."""

    async def _publish(self, js: JetStreamContext, events: Sequence[Event]) -> None:
        await asyncio.gather(*(self._send(js, event) for event in events))

    async def _send(self, js: JetStreamContext, event: Event) -> None:
        headers = {Header.MSG_ID.value: event.id, "Content-Type": "application/cloudevents+json; charset=utf-8"}
        subject = self._names.event(event.collection, event.type)
        await js.publish(subject, json.dumps(event.envelope(), ensure_ascii=False).encode(), stream=self._stream, headers=headers)
