"""An interaction log in a dict."""

from __future__ import annotations

from dataclasses import replace

from ragstone.domain.errors import NotFound
from ragstone.domain.interactions import Feedback, Interaction


class InMemoryInteractionLog:
    """Implements `InteractionLog`."""

    def __init__(self) -> None:
        self._interactions: dict[str, Interaction] = {}

    async def append(self, interaction: Interaction) -> None:
        self._interactions.setdefault(interaction.id, interaction)

    async def get(self, interaction_id: str) -> Interaction:
        if interaction_id not in self._interactions:
            raise NotFound(f"there is no interaction {interaction_id[:80]!r}.", field="interaction")
        return self._interactions[interaction_id]

    async def add_feedback(self, interaction_id: str, feedback: Feedback) -> Interaction:
        interaction = await self.get(interaction_id)
        self._interactions[interaction_id] = replace(interaction, feedback=(*interaction.feedback, feedback))
        return self._interactions[interaction_id]

    async def recent(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[Interaction]:
        newest_first = list(reversed(self._interactions.values()))
        if before is not None:
            ids = [interaction.id for interaction in newest_first]
            newest_first = newest_first[ids.index(before) + 1 :] if before in ids else []
        return [interaction for interaction in newest_first if collection in (None, interaction.collection)][:limit]

    async def close(self) -> None:
        """Nothing to close."""
