"""Server-Sent Events: the same forms as JSON, errors after the 200 as an event, `[DONE]` at the end."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from pydantic_core import to_json
from sse_starlette import EventSourceResponse, ServerSentEvent

from ragstone.domain.errors import InternalError, RagstoneError

T = TypeVar("T")
_log = logging.getLogger(__name__)
DONE = ServerSentEvent("[DONE]")


def event(form: Mapping[str, Any], name: str | None = None) -> ServerSentEvent:
    """One event with a JSON body."""
    return ServerSentEvent(to_json(form, inf_nan_mode="null").decode(), event=name)


async def primed(stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same stream, run up to its first item: what it raises before that is still an HTTP status."""
    try:
        first = await anext(stream)
    except StopAsyncIteration:
        return _rest(None, stream)
    return _rest(first, stream)


def respond(events: AsyncGenerator[ServerSentEvent, None]) -> EventSourceResponse:
    """The response. A client that hangs up closes `events`, and with it all work behind it."""
    return EventSourceResponse(events)


async def _rest(first: T | None, stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    async with aclosing(stream):
        if first is not None:
            yield first
        async for item in stream:
            yield item


def as_domain_error(error: Exception) -> RagstoneError:
    """What the client is told of an error in the middle of a stream; unknown ones go to the log only."""
    if isinstance(error, RagstoneError):
        return error
    _log.error("a stream failed", exc_info=error)
    return InternalError("The answer could not be finished; see the server's log.")
