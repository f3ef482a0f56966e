"""An interaction log in a dict."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ragstone.domain.errors import NotFound
from ragstone.domain.interactions import (
    CitedChunk,
    Feedback,
    Interaction,
    InteractionFilter,
    Logged,
    cited_chunks,
    used_paths,
    without_document,
)


class InMemoryInteractionLog:
    """Implements `InteractionLog`."""

    def __init__(self) -> None:
        self._interactions: dict[str, Interaction] = {}

    async def append(self, interaction: Interaction) -> Logged:
        self._interactions.setdefault(interaction.id, replace(interaction, feedback=()))
        return "stored"

    async def get(self, interaction_id: str) -> Interaction:
        if interaction_id not in self._interactions:
            raise NotFound(f"there is no interaction {interaction_id[:80]!r}.", field="interaction")
        return self._interactions[interaction_id]

    async def add_feedback(self, interaction_id: str, feedback: Feedback) -> Interaction:
        interaction = await self.get(interaction_id)
        self._interactions[interaction_id] = replace(interaction, feedback=(*interaction.feedback, feedback))
        return self._interactions[interaction_id]

    async def page(self, filter: InteractionFilter, *, before: str | None = None, limit: int = 50) -> list[Interaction]:
        newest_first = list(reversed(self._interactions.values()))
        if before is not None:
            ids = [interaction.id for interaction in newest_first]
            newest_first = newest_first[ids.index(before) + 1 :] if before in ids else []
        return [interaction for interaction in newest_first if _passes(interaction, filter)][:limit]

    async def cited(self, collection: str, paths: Collection[str]) -> list[CitedChunk]:
        found = {chunk for one in self._interactions.values() if one.collection == collection for chunk in cited_chunks(one)}
        return sorted((chunk for chunk in found if chunk.path in paths), key=lambda chunk: (chunk.path, chunk.chunk_id))

    async def delete_before(self, time: float) -> int:
        doomed = [id_ for id_, interaction in self._interactions.items() if interaction.created_at < time]
        for id_ in doomed:
            del self._interactions[id_]
        return len(doomed)

    async def erase(self, collection: str, path: str) -> int:
        changed = 0
        for id_, interaction in self._interactions.items():
            blank = without_document(interaction, path) if interaction.collection == collection else interaction
            changed += blank != interaction
            self._interactions[id_] = blank
        return changed

    async def deferred(self) -> int:
        return 0

    async def close(self) -> None:
        """Nothing to close."""


def _passes(interaction: Interaction, wanted: InteractionFilter) -> bool:
    said = interaction.feedback
    return (
        wanted.collection in (None, interaction.collection)
        and (wanted.collections is None or interaction.collection in wanted.collections)
        and (wanted.since is None or interaction.created_at >= wanted.since)
        and (wanted.until is None or interaction.created_at < wanted.until)
        and (wanted.abstained is None or bool(interaction.answer.get("abstained")) is wanted.abstained)
        and (wanted.thumb is None or any(one.thumb == wanted.thumb for one in said))
        and (wanted.tag is None or any(wanted.tag in one.tags for one in said))
        and wanted.commit_id in (None, interaction.commit_id)
        and wanted.release_id in (None, interaction.release_id)
        and (wanted.path is None or wanted.path in used_paths(interaction))
        and (wanted.chunks is None or any(chunk.chunk_id in wanted.chunks for chunk in cited_chunks(interaction)))
    )
