"""Old interactions are deleted, at start and then every hour."""

from __future__ import annotations

import asyncio
import logging
import time

from ragstone.domain.errors import RagstoneError
from ragstone.ports.interaction_log import InteractionLog

_PERIOD = 3600.0  # seconds
_log = logging.getLogger(__name__)


class Housekeeping:
    """`keep`: seconds that an interaction is kept, None for ever."""

    def __init__(self, interactions: InteractionLog, keep: float | None) -> None:
        self._interactions = interactions
        self._keep = keep
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins; `stop` ends it."""
        self._task = asyncio.create_task(self._tidy_for_ever(), name="housekeeping")

    async def stop(self) -> None:
        """Ends it, and waits for what it is at."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def tidy(self) -> int:
        """Deletes what is too old; returns how many interactions that were. Where nothing is, the log still gets to order its listings."""
        deleted = await self._interactions.delete_before(0.0 if self._keep is None else time.time() - self._keep)
        if deleted:
            _log.info("%d old interactions were deleted", deleted)
        return deleted

    async def _tidy_for_ever(self) -> None:
        while True:
            try:
                await self.tidy()
            except RagstoneError as error:
                _log.warning("old interactions could not be deleted (%s); it is tried again in an hour", error.message)
            await asyncio.sleep(_PERIOD)
