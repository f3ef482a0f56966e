"""An interaction log that takes personal data out before another one stores anything."""

from __future__ import annotations

from collections.abc import Collection

from ragstone.domain.interactions import CitedChunk, Feedback, Interaction, InteractionFilter, Logged
from ragstone.domain.redaction import Redaction
from ragstone.ports.interaction_log import InteractionLog


class RedactingInteractionLog:
    """Implements `InteractionLog` over another one. What was stored before a field was redacted stays as it is."""

    def __init__(self, log: InteractionLog, redaction: Redaction) -> None:
        self._log = log
        self._redaction = redaction

    async def append(self, interaction: Interaction) -> Logged:
        return await self._log.append(self._redaction.interaction(interaction))

    async def get(self, interaction_id: str) -> Interaction:
        return await self._log.get(interaction_id)

    async def add_feedback(self, interaction_id: str, feedback: Feedback) -> Interaction:
        return await self._log.add_feedback(interaction_id, self._redaction.feedback(feedback))

    async def page(self, filter: InteractionFilter, *, before: str | None = None, limit: int = 50) -> list[Interaction]:
        return await self._log.page(filter, before=before, limit=limit)

    async def cited(self, collection: str, paths: Collection[str]) -> list[CitedChunk]:
        return await self._log.cited(collection, paths)

    async def delete_before(self, time: float) -> int:
        return await self._log.delete_before(time)

    async def erase(self, collection: str, path: str) -> int:
        return await self._log.erase(collection, path)

    async def deferred(self) -> int:
        return await self._log.deferred()

    async def close(self) -> None:
        await self._log.close()
