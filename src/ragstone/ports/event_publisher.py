"""Events for other systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ragstone.domain.events import Event


class EventPublisher(Protocol):
    """Contract:

    - `publish` returns once all events are durable, in this order. One that was published a moment ago under the same id is not told again; later
      it may be: subscribers get each at least once, and know it by its id.
    - Raises `Unavailable`; some of the events may then have been published.
    """

    async def publish(self, events: Sequence[Event]) -> None: ...

    async def close(self) -> None: ...
