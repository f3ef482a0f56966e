"""The model that a service answers with, replaced without dropping a request."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

M = TypeVar("M")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held(Generic[M]):
    """A model and the version that answers name, `models:/<name>/<number>` or whatever else tells it."""

    model: M
    version: str


class ModelHolder(Generic[M]):
    """One model at a time for new requests; those in flight keep the one they began with.

    `close` frees a model; it may block, and runs in a thread of its own, once, when the last request that uses the model has ended. Safe to use from
    threads and from an event loop.
    """

    def __init__(self, model: M, version: str, close: Callable[[M], None]) -> None:
        self._close = close
        self._lock = threading.Lock()
        self._current = _Used(Held(model, version))
        self._closing: set[threading.Thread] = set()

    @property
    def current(self) -> Held[M]:
        """What a request would get now; to work with it, `use` it."""
        return self._current.held

    @contextmanager
    def use(self) -> Iterator[Held[M]]:
        """The model for one request, which is not closed before the end, whatever comes after it."""
        with self._lock:
            used = self._current
            used.users += 1
        try:
            yield used.held
        finally:
            with self._lock:
                used.users -= 1
                self._close_if_done(used)

    def swap(self, model: M, version: str) -> None:
        """New requests get this one from now on."""
        with self._lock:
            old, self._current = self._current, _Used(Held(model, version))
            old.retired = True
            self._close_if_done(old)

    async def close(self) -> None:
        """Closes the current model too, when its last request has ended; returns when every model is closed that can be."""
        with self._lock:
            if not self._current.retired:
                self._current.retired = True
                self._close_if_done(self._current)
        await self.settled()

    async def settled(self) -> None:
        """Waits for the closings that have begun."""
        for thread in list(self._closing):
            await asyncio.to_thread(thread.join)

    def _close_if_done(self, used: _Used[M]) -> None:
        """With the lock held."""
        if used.retired and used.users == 0:
            thread = threading.Thread(target=self._free, args=(used.held,), name="close-model")
            self._closing.add(thread)
            thread.start()

    def _free(self, held: Held[M]) -> None:
        try:
            self._close(held.model)
        except Exception:
            _log.exception("closing %s failed", held.version)
        finally:
            self._closing.discard(threading.current_thread())


class _Used(Generic[M]):
    """A model with the number of requests that use it; `retired`: no new one will."""

    def __init__(self, held: Held[M]) -> None:
        self.held = held
        self.users = 0
        self.retired = False
