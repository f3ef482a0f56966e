"""A service's model follows an alias of the registry: loaded beside the old one, tried, and then put in its place."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ragstone.domain.errors import RagstoneError, Unavailable
from ragstone.domain.registered_models import ModelReference, ModelVersion
from ragstone.telemetry.metrics import MODEL_BEHIND, MODEL_CHANGES, MODEL_VERSION

_JITTER = 0.2  # of the interval, so that replicas don't all load at the same moment
_AGAIN = 600.0  # seconds after which a version that was refused is tried again: its files may have been put right
_log = logging.getLogger(__name__)


class Closable(Protocol):
    """Something to close."""

    async def close(self) -> None: ...


M = TypeVar("M", bound=Closable)


class Slot(Protocol[M]):
    """Where a service has its model: each request keeps the one that it began with. `swap` closes the one of before when its last request has ended."""

    @property
    def now(self) -> M: ...

    async def swap(self, new: M) -> None: ...


@dataclass(frozen=True, slots=True)
class Loading(Generic[M]):
    """How a version becomes a model. `look` asks the registry, `path` gives its compared files, `load` may block, `accept(new, old)` raises when it must not serve.

    What they refuse they raise as a `RagstoneError`; `Unavailable` means that another try may succeed.
    """

    look: Callable[[ModelReference], Awaitable[ModelVersion]]
    path: Callable[[ModelVersion], Awaitable[Path]]
    load: Callable[[ModelVersion, Path], M]
    accept: Callable[[M, M], Awaitable[None]]


class Following(Protocol):
    """What follows an alias; `problem`: why what it means is not served, None while it is."""

    problem: str | None


class AliasFollower(Generic[M]):
    """Looks at `reference` every `interval` seconds, a fifth more or less. Whatever goes wrong, the model of before goes on serving, and `problem` says why.

    `tells_only`: why another version is not loaded here, but only told of; None: it is loaded.
    """

    def __init__(
        self,
        reference: ModelReference,
        serving: ModelVersion,
        slot: Slot[M],
        loading: Loading[M],
        *,
        interval: float,
        as_last_seen: bool = False,
        tells_only: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reference = reference
        self.serving = serving
        self.problem: str | None = None  # a sentence, while what serves is not what the alias means, or nobody knows
        self._slot = slot
        self._loading = loading
        self._interval = interval
        self._tells_only = tells_only
        self._clock = clock
        self._refused: tuple[str, float, str] | None = None  # digest, when, and the problem
        self._tell(f"{reference}: the model registry did not answer; {serving.label} serves, as last seen." if as_last_seen else None)

    async def run(self) -> None:
        """Follows until it is cancelled."""
        while True:
            await asyncio.sleep(self._interval * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - spreads load
            try:
                await self.look()
            except Exception:  # of closing the old model; the new one serves
                _log.exception("%s: the model of before could not be closed", self.reference)

    async def look(self) -> bool:
        """Looks once; whether another version serves now."""
        try:
            wanted = await self._loading.look(self.reference)
        except Exception as error:
            self._failed("unanswered", f"it can't be told what it means now: {_reason(error)}", error)
            return False
        if (wanted.number, wanted.content.digest) == (self.serving.number, self.serving.content.digest):
            self.serving, self._refused = wanted, None  # what was refused is tried again when the alias comes back to it
            self._tell(None)
            return False
        if self._tells_only is not None:
            self._failed("told", f"it means {wanted.label} now, and this process does not change over by itself: {self._tells_only}", None)
            return False
        digest = wanted.content.digest
        if self._refused is not None and self._refused[0] == digest and self._clock() - self._refused[1] < _AGAIN:
            self._tell(self._refused[2])
            return False
        try:
            model = await self._loaded(wanted)
        except Unavailable as error:
            self._failed("failed", f"{wanted.label} can't be had now: {error.message}", error)
            return False
        except Exception as error:
            self._refused = digest, self._clock(), self._failed("refused", f"{wanted.label} is refused: {_reason(error)}", error)
            return False
        if await self._meant_otherwise(wanted):
            _log.info("%s moved on while %s was being loaded", self.reference, wanted.label)
            MODEL_CHANGES.labels(str(self.reference), "overtaken").inc()
            await model.close()
            return await self.look()
        _log.info("%s is %s now, after %s", self.reference, wanted.label, self.serving.label)
        self.serving, self._refused = wanted, None
        MODEL_CHANGES.labels(str(self.reference), "changed").inc()
        self._tell(None)
        await self._slot.swap(model)
        return True

    async def _loaded(self, wanted: ModelVersion) -> M:
        path = await self._loading.path(wanted)
        model = await asyncio.to_thread(self._loading.load, wanted, path)
        try:
            await self._loading.accept(model, self._slot.now)
        except BaseException:
            await model.close()
            raise
        return model

    async def _meant_otherwise(self, loaded: ModelVersion) -> bool:
        """Whether the alias moved meanwhile. Where nobody can tell, it did not."""
        try:
            now = await self._loading.look(self.reference)
        except Exception:  # the next look tells of it
            return False
        return (now.number, now.content.digest) != (loaded.number, loaded.content.digest)

    def _failed(self, outcome: str, problem: str, error: Exception | None) -> str:
        problem = f"{self.reference}: {problem} {self.serving.label} goes on serving."
        if problem != self.problem:  # said once, not at every look
            _log.warning("%s", problem, exc_info=None if error is None or isinstance(error, RagstoneError) else error)
        MODEL_CHANGES.labels(str(self.reference), outcome).inc()
        self._tell(problem)
        return problem

    def _tell(self, problem: str | None) -> None:
        if self.problem is not None and problem is None:
            _log.info("%s: %s serves, as it should", self.reference, self.serving.label)
        self.problem = problem
        MODEL_VERSION.labels(str(self.reference)).set(self.serving.number)
        MODEL_BEHIND.labels(str(self.reference)).set(problem is not None)


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, RagstoneError) else f"an unexpected {type(error).__name__}; the log tells more."
