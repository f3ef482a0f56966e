"""Can it answer: are the stores there that every request needs, and is it not about to stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass

from ragstone.domain.errors import RagstoneError, Unavailable
from ragstone.use_cases.platform import Platform

_WITHIN = 2.0  # seconds that a part gets to answer
_AGAIN = 1.0  # seconds for which an answer counts
_AGAIN_OPTIONAL = 5.0
_GLANCE = 0.25  # seconds that are waited for a part that is not needed; what comes later is told the next time

_log = logging.getLogger(__name__)

Question = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Missing:
    """A dependency that does not answer, and why."""

    part: str
    reason: str


class NotReady(Unavailable):
    """Something is missing without which nothing can be answered."""

    def __init__(self, missing: tuple[Missing, ...]) -> None:
        told = "; ".join(f"{each.part} {each.reason}" for each in missing)
        super().__init__(f"Not ready: {told}", field=missing[0].part, retry_after=_WITHIN)
        self.missing = missing


class Readiness:
    """Asks each store something small, however often it is asked itself: at most once a second.

    Without what is needed it is not ready. Without the rest it answers as well as it can: generation (answers are extractive), rerank (passages keep the
    order of their fused scores), tracking (runs are recorded later), and, unless `queue` is set, the queue (jobs are accepted without it). Once `stopping` is set, none is asked: the answer is no.
    """

    def __init__(self, platform: Platform, *, queue: bool = False) -> None:
        adapters = platform.adapters
        needed: dict[str, Question] = {
            "catalog": adapters.catalog.collections,
            "index": adapters.index.names,
            "versions": adapters.versions.repositories,
            "staging": adapters.staging.jobs,
            "embedding": adapters.embedder.check,
        }
        optional: dict[str, Question] = {"generation": platform.answering.check}
        if adapters.reranker is not None:
            optional["rerank"] = adapters.reranker.check
        (needed if queue else optional)["queue"] = adapters.queue.check
        if adapters.tracker is not None:
            optional["tracking"] = adapters.tracker.check
        self.stopping = False
        self._needed = [_Part(name, question, _AGAIN) for name, question in needed.items()]
        self._optional = [_Part(name, question, _AGAIN_OPTIONAL) for name, question in optional.items()]

    async def check(self) -> tuple[Missing, ...]:
        """What is missing and not needed. Raises `NotReady`, which names everything that is missing and needed."""
        if self.stopping:
            raise Unavailable("Not ready: it is stopping.", field="server", retry_after=_WITHIN)
        asked = await asyncio.gather(*(part.look(None) for part in self._needed), *(part.look(_GLANCE) for part in self._optional))
        missing = [tuple(each for each in found if each) for found in (asked[: len(self._needed)], asked[len(self._needed) :])]
        if missing[0]:
            raise NotReady(missing[0])
        return missing[1]


class _Part:
    """One dependency, asked by one at a time, whoever wants to know, and not again for `again` seconds."""

    def __init__(self, name: str, question: Question, again: float) -> None:
        self._name = name
        self._question = question
        self._again = again
        self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._found: Missing | None = None

    async def look(self, patience: float | None) -> Missing | None:
        """How it is; or, after `patience` seconds, how it was when it was asked last."""
        if self._asking is None and time.monotonic() - self._asked >= self._again:
            self._asking = asyncio.create_task(self._ask(), name=f"readiness of {self._name}", context=Context())  # no one request's
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=patience)
        return self._found

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(_WITHIN):
                await self._question()
            self._found = None
        except TimeoutError:
            self._found = Missing(self._name, f"did not answer within {_WITHIN:g} s.")
        except RagstoneError as error:
            self._found = Missing(self._name, f"failed ({error.message})")
        except OSError as error:
            self._found = Missing(self._name, f"failed ({error.strerror}).")
        except Exception:
            _log.exception("asking %s failed", self._name)
            self._found = Missing(self._name, "failed unexpectedly; the log tells more.")
        finally:
            self._asked = time.monotonic()
            self._asking = None
