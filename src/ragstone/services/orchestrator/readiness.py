"""Can it answer: are the stores there that every request needs, and is it not about to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ragstone.domain.errors import RagstoneError, Unavailable
from ragstone.use_cases.platform import Platform

_WITHIN = 2.0  # seconds


class Readiness:
    """Asks each store something small, with `queue` the queue too: an API accepts jobs without it. Once `stopping` is set, none is asked: the answer is no."""

    def __init__(self, platform: Platform, *, queue: bool = False) -> None:
        adapters = platform.adapters
        self.stopping = False
        self._parts: dict[str, Callable[[], Awaitable[object]]] = {
            "catalog": adapters.catalog.collections,
            "index": adapters.index.names,
            "versions": adapters.versions.repositories,
            "staging": adapters.staging.jobs,
            **({"queue": adapters.queue.check} if queue else {}),
        }

    async def check(self) -> None:
        """Raises `Unavailable`, which names the part that is missing."""
        if self.stopping:
            raise Unavailable("Not ready: it is stopping.", field="server", retry_after=_WITHIN)
        await asyncio.gather(*(self._ask(part, question) for part, question in self._parts.items()))

    @staticmethod
    async def _ask(part: str, question: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(_WITHIN):
                await question()
        except TimeoutError:
            raise Unavailable(f"Not ready: {part} did not answer within {_WITHIN:g} s.", field=part, retry_after=_WITHIN) from None
        except RagstoneError as error:
            raise Unavailable(f"Not ready: {part} failed ({error.message})", field=part, retry_after=_WITHIN) from error
        except OSError as error:
            raise Unavailable(f"Not ready: {part} failed ({error.strerror}).", field=part, retry_after=_WITHIN) from error
