"""One server that the platform depends on: time-outs, retries, a circuit breaker and bounded concurrency around each call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import stamina
from stamina.instrumentation import LoggingOnRetryHook, set_on_retry_hooks

from ragstone.adapters.circuit_breaker import CircuitBreaker
from ragstone.domain.deadline import remaining
from ragstone.domain.errors import RagstoneError, StorageFull, Unavailable
from ragstone.telemetry.metrics import DEPENDENCY_CALLS, DEPENDENCY_RETRIES

T = TypeVar("T")
Translate = Callable[[Exception], RagstoneError | None]
_ATTEMPTS = 4
_FIRST_WAIT = 0.1  # seconds between attempts
_LONGEST_WAIT = 2.0
_RETRY_AFTER = 1.0  # seconds, told where the server told none

# A server's log tells of retries. Stamina's own choice prints them on stdout where no logging was set up, into what a command says with --json.
set_on_retry_hooks([LoggingOnRetryHook])
logging.getLogger("stamina").addHandler(logging.NullHandler())


class Dependency:
    """Calls to one server, by `name` (catalog, versions, index, queue, interactions, tracking, embedding, generation, rerank).

    `timeout`: seconds for one attempt. `concurrency`: calls at once; more wait. `translate` turns the client's exceptions into ragstone's, None for
    one that is not the client's. What it turns into `Unavailable`, a time-out and a broken connection count against the server; any other
    answer, also a `RagstoneError` that the work raises by itself, counts for it.
    """

    def __init__(self, name: str, *, timeout: float, concurrency: int, translate: Translate) -> None:
        self.name = name
        self._timeout = timeout
        self._places = asyncio.Semaphore(concurrency)
        self._translate = translate
        self._breaker = CircuitBreaker(name)
        self._calls = {outcome: DEPENDENCY_CALLS.labels(name, outcome) for outcome in ("answered", "failed", "refused")}
        self._retries = DEPENDENCY_RETRIES.labels(name)

    async def call(self, work: Callable[[float], Awaitable[T]], *, retry: bool) -> T:
        """What `work` returns, which gets the seconds it has: the time-out, or what is left of the request's deadline.

        `retry`: whether it may be done again after a failure that may pass, which is so when it is idempotent or fenced. Raises `Unavailable` with
        `retry_after` when the server does not answer, and what `translate` gives. The outcome of a write that raised `Unavailable` is unknown.
        """
        self._seconds()  # raises when the time is up already
        attempts = stamina.retry_context(
            on=_MayPass,
            attempts=_ATTEMPTS if retry else 1,
            timeout=remaining(),
            wait_initial=_FIRST_WAIT,
            wait_max=_LONGEST_WAIT,
            wait_jitter=_FIRST_WAIT,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    if attempt.num > 1:
                        self._retries.inc()
                    return await self._attempt(work)
        except _MayPass as failure:
            raise failure.error from failure.__cause__
        raise AssertionError("stamina ends with a result or an error")

    async def look(self, work: Callable[[float], Awaitable[T]]) -> T:
        """As `call`, for checks of health: once, whatever the circuit breaker says, and without a word to it."""
        try:
            seconds = self._seconds()
            async with asyncio.timeout(seconds):
                return await work(seconds)
        except RagstoneError:
            raise
        except Exception as error:  # a client may raise anything; `translate` knows what is its own
            translated = self._translated(error)
            if translated is None:
                raise
            raise translated from error

    async def _attempt(self, work: Callable[[float], Awaitable[T]]) -> T:
        begun = time.monotonic()
        outcome = "refused"
        try:
            async with self._place(), self._answering():
                outcome = "failed"
                seconds = self._seconds()
                async with asyncio.timeout(seconds):
                    result = await work(seconds)
                outcome = "answered"
                return result
        except RagstoneError:
            outcome = "refused" if outcome == "refused" else "answered"
            raise
        finally:
            self._calls[outcome].observe(time.monotonic() - begun)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the places for calls, waited for no longer than a call may take."""
        try:
            async with asyncio.timeout(self._seconds()):
                await self._places.acquire()
        except TimeoutError:
            raise Unavailable(f"{self.name}: too many calls wait for it; try again.", field=self.name, retry_after=_RETRY_AFTER) from None
        try:
            yield
        finally:
            self._places.release()

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """Tells the circuit breaker how the call went, and turns the client's errors into ragstone's."""
        with self._breaker.passing():
            whole = self._seconds() >= self._timeout
            try:
                yield
            except RagstoneError:
                self._breaker.answered()
                raise
            except Exception as error:  # a client may raise anything; `translate` knows what is its own
                translated = self._translated(error)
                if isinstance(translated, Unavailable) and not isinstance(translated, StorageFull):
                    if whole or not isinstance(error, TimeoutError):  # less time than it is due says nothing about the server
                        self._breaker.failed()
                    raise _MayPass(translated) from error
                self._breaker.answered()
                if translated is None:
                    raise
                raise translated from error
            self._breaker.answered()

    def _translated(self, error: Exception) -> RagstoneError | None:
        translated = self._translate(error)
        if translated is None and isinstance(error, TimeoutError):
            translated = Unavailable(f"{self.name}: it did not answer in time; try again.")
        elif translated is None and isinstance(error, OSError):
            translated = Unavailable(f"{self.name}: it can't be reached; try again.")
        if isinstance(translated, Unavailable):
            translated.field = translated.field or self.name
            translated.retry_after = translated.retry_after or _RETRY_AFTER
        return translated

    def _seconds(self) -> float:
        left = remaining()
        if left is None:
            return self._timeout
        if left <= 0:
            raise Unavailable("The request took too long; try again, or ask for less.", field=self.name, retry_after=_RETRY_AFTER)
        return min(self._timeout, left)


class _MayPass(Exception):
    """The server did not answer, or could not: another attempt may succeed."""

    def __init__(self, error: Unavailable) -> None:
        super().__init__(error.message)
        self.error = error
