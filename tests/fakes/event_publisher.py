"""Events in a list."""

from __future__ import annotations

from collections.abc import Sequence

from ragstone.domain.events import Event


class InMemoryEventPublisher:
    """Implements `EventPublisher`. `calls`: how many events each call brought."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.calls: list[int] = []
        self._ids: set[str] = set()

    async def publish(self, events: Sequence[Event]) -> None:
        self.calls.append(len(events))
        for event in events:
            if event.id not in self._ids:
                self._ids.add(event.id)
                self.events.append(event)

    async def close(self) -> None:
        pass
