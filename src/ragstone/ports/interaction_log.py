"""Questions, answers, passages and feedback."""

from __future__ import annotations

from typing import Protocol

from ragstone.domain.interactions import Feedback, Interaction


class InteractionLog(Protocol):
    """Contract:

    - `append` returns once the interaction survives the process being killed. The same id again replaces nothing and is no error.
    - `get` raises `NotFound`. `add_feedback` appends and returns the interaction with it; raises `NotFound`.
    - `recent` is newest first, of one collection or of all; `before` is the id of the last one of the page before.
    - Raises `StorageFull` or `Unavailable`.
    """

    async def append(self, interaction: Interaction) -> None: ...

    async def get(self, interaction_id: str) -> Interaction: ...

    async def add_feedback(self, interaction_id: str, feedback: Feedback) -> Interaction: ...

    async def recent(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[Interaction]: ...

    async def close(self) -> None: ...
