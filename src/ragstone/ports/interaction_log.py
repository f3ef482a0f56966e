"""Questions, answers, passages and feedback."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from ragstone.domain.interactions import CitedChunk, Feedback, Interaction, InteractionFilter, Logged


class InteractionLog(Protocol):
    """Contract:

    - `append` returns once the interaction survives the process being killed: `stored`, and every later call sees it, or `deferred`: it waits in
      a spool beside the log, is not found until the log answers again, and then is. The same id again replaces nothing and is no error.
    - `get` raises `NotFound`. `add_feedback` appends and returns the interaction with it; raises `NotFound`.
    - `page`: those that pass the filter, in the reverse order of their storing; `before` is the id of the last one of the page before. An id
      that is not there gives an empty page.
    - `cited`: the chunks of these documents that some answer cites, each once, in order of path and chunk.
    - `delete_before` deletes interactions made before that time (Unix seconds), their feedback with them; returns how many.
    - `erase` takes every text of the document out of the log (`domain.interactions.without_document`), also out of what is deferred; returns how
      many interactions were changed. Done again it changes nothing. A whole log, or `Unavailable`: never silently a part.
    - `deferred`: how many wait in the spool.
    - Raises `StorageFull` or `Unavailable`.
    """

    async def append(self, interaction: Interaction) -> Logged: ...

    async def get(self, interaction_id: str) -> Interaction: ...

    async def add_feedback(self, interaction_id: str, feedback: Feedback) -> Interaction: ...

    async def page(self, filter: InteractionFilter, *, before: str | None = None, limit: int = 50) -> list[Interaction]: ...

    async def cited(self, collection: str, paths: Collection[str]) -> list[CitedChunk]: ...

    async def delete_before(self, time: float) -> int: ...

    async def erase(self, collection: str, path: str) -> int: ...

    async def deferred(self) -> int: ...

    async def close(self) -> None: ...
