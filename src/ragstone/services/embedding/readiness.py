"""Can it embed now, and is it not about to stop."""

from __future__ import annotations

import asyncio

from ragstone.adapters.served_models import ServedEmbedder
from ragstone.domain.errors import RagstoneError, Unavailable
from ragstone.use_cases.model_slot import ModelSlot

_WITHIN = 2.0  # seconds


class Readiness:
    """Asks the model that is served. Once `stopping` is set the answer is no."""

    def __init__(self, embedder: ModelSlot[ServedEmbedder]) -> None:
        self._embedder = embedder
        self.stopping = False

    async def check(self) -> None:
        """Raises `Unavailable` with what is wrong."""
        if self.stopping:
            raise Unavailable("Not ready: it is stopping.", field="server", retry_after=_WITHIN)
        try:
            async with asyncio.timeout(_WITHIN):
                await self._embedder.now.embedder.check()
        except (RagstoneError, TimeoutError) as error:
            why = error.message if isinstance(error, RagstoneError) else "The embedding model does not answer."
            raise Unavailable(f"Not ready: {why}", field="embedding", retry_after=_WITHIN) from None
