"""The engine that answers, replaced while answers are made: the bound on what runs at once holds over the new one and the one before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragstone.ports.generation_engine import GenerationEngine
from ragstone.use_cases.model_slot import ModelSlot, Place


class EngineSlot(ModelSlot[GenerationEngine]):
    """`running`: answers that an engine makes at once; what is beyond waits inside it. For one event loop."""

    def __init__(self, first: GenerationEngine, running: int) -> None:
        super().__init__(first)
        self._running = running
        self._left = asyncio.Event()  # somebody did

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[GenerationEngine]:
        """The engine for one answer, which keeps it to its end.

        While the engine before still answers, waits here until both together would make no more than `running` at once: on one machine they share what makes answers.
        """
        with self._kept() as place:
            while not self._has_room(place):
                self._left.clear()
                await self._left.wait()
            place.begun += 1
            try:
                yield place.model
            finally:
                place.begun -= 1
                self._left.set()

    def _has_room(self, place: Place[GenerationEngine]) -> bool:
        before = sum(min(each.begun, self._running) for each in self._before)
        return not before or before + place.begun < self._running
