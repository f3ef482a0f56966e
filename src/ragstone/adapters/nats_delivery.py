"""One message: asking for it, what it says, keeping it alive while it is worked on, and telling the server how that ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator
from types import TracebackType

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DEFAULT_PREFIX, Header

_LATE = 2.0  # seconds after the end of a request within which the server's word on it comes
_CONFIRMED = 2.0  # seconds that the server gets to confirm the end of a message
_log = logging.getLogger(__name__)


def parse(data: bytes) -> tuple[str, str] | None:
    """Collection and job of a message; None for what is not one of ours."""
    try:
        form = json.loads(data)
        collection, job = form["collection"], form["job"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (collection, job) if isinstance(collection, str) and isinstance(job, str) else None


async def pull(client: Client, stream: str, consumer: str, seconds: float) -> Msg | None:
    """The next message of a consumer; None when there is none within `seconds`, or the server is away. Raises errors of nats-py.

    The server ends the request, and we wait until it says so. nats-py's `fetch` gives up at the same moment as the server: what that sends at the last moment,
    or to a process that is late, comes to nobody then, and stops its collection for `ack_wait`.
    """
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    try:
        request = json.dumps({"batch": 1, "expires": int(seconds * 1e9)}).encode()
        await client.publish(f"{DEFAULT_PREFIX}.CONSUMER.MSG.NEXT.{stream}.{consumer}", request, reply=inbox)
        message = await answers.next_msg(timeout=seconds + _LATE)
    except TimeoutError:
        return None
    finally:
        with contextlib.suppress(nats.errors.Error):
            await answers.unsubscribe()
    return None if Header.STATUS.value in (message.headers or {}) else message  # a status: there was none


class Delivery:
    """Within its block the server is told again and again that the message is being worked on.

    `number`: of this delivery, from 1. `sequence`: the message's place in its stream, which stays.
    """

    def __init__(self, message: Msg, ack_wait: float) -> None:
        self._message = message
        self._period = ack_wait / 3
        self._beating: asyncio.Task[None] | None = None
        self.number = message.metadata.num_delivered
        self.sequence = message.metadata.sequence.stream

    async def __aenter__(self) -> Delivery:
        self._beating = asyncio.create_task(self._beat(), name="heartbeat of a job's message")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    async def done(self) -> None:
        """It is worked off. Where that can't be told, it comes again and finds its job ended."""
        with _unless_away("confirmed"):
            await self._message.ack_sync(timeout=_CONFIRMED)

    async def drop(self) -> None:
        """It is not to come again, though it was not worked off."""
        with _unless_away("dropped"):
            await self._message.term()

    async def again(self, pause: float) -> None:
        """It shall come again after `pause` seconds."""
        with _unless_away("handed back"):
            await self._message.nak(delay=pause or None)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            with _unless_away("kept alive"):
                await self._message.in_progress()


@contextlib.contextmanager
def _unless_away(what: str) -> Iterator[None]:
    """What can't be told to the server is logged: it delivers the message again, which does no harm."""
    try:
        yield
    except (nats.errors.Error, OSError, TimeoutError) as error:
        _log.info("a message could not be %s: %s", what, error)
