"""An index and a version store that several processes share: the fakes, in the process that serves them; a stand-in for Qdrant and lakeFS where there are none."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.managers import BaseManager
from typing import Any

from tests.fakes.vector_index import InMemoryVectorIndex
from tests.fakes.version_store import InMemoryVersionStore

_KEY = b"of this test alone"


class _Calls:
    """Runs calls of all processes, one after another, on one event loop."""

    def __init__(self, stores: dict[str, Any]) -> None:
        self._stores = stores
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def call(self, store: str, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        work = getattr(self._stores[store], method)(*arguments, **named)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@cache
def _calls() -> _Calls:
    return _Calls({"index": InMemoryVectorIndex(), "versions": InMemoryVersionStore()})


class _Server(BaseManager):
    """Gives out `_Calls`."""


class _Client(BaseManager):
    """Finds them."""


class Shared:
    """Any port's adapter that lives in the serving process."""

    def __init__(self, calls: Any, store: str) -> None:
        self._calls = calls
        self._store = store

    def __getattr__(self, method: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            plain = tuple(list(one) if isinstance(one, (type({}.keys()), type({}.values()))) else one for one in arguments)
            return await asyncio.to_thread(self._calls.call, self._store, method, plain, named)

        return call


_Server.register("calls", callable=_calls)


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """The address at which other processes find the stores, which live in a process of their own."""
    manager = _Server(address=("127.0.0.1", 0), authkey=_KEY, ctx=multiprocessing.get_context("spawn"))
    manager.start()
    try:
        yield manager.address  # type: ignore[misc]
    finally:
        manager.shutdown()


def found(address: tuple[str, int]) -> tuple[Any, Any]:
    """Index and version store at the address."""
    _Client.register("calls")
    manager = _Client(address=(address[0], address[1]), authkey=_KEY)
    manager.connect()
    calls = manager.calls()  # type: ignore[attr-defined]
    return Shared(calls, "index"), Shared(calls, "versions")
