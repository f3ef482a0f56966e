"""One connection to a NATS server with JetStream: made when it is first needed, mended by itself, its errors told as sentences."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError
from nats.js.errors import Error as JetStreamError

from ragstone.adapters.dependency import Dependency
from ragstone.domain.errors import Conflict, RagstoneError, Unavailable

T = TypeVar("T")
OLDEST = (2, 10)  # server version: limits by subject in a work queue, subjects in a stream's state
_CONNECT = 2.0  # seconds
_PAUSE = 0.5  # seconds between attempts to connect again
_OVERLAP, _NO_JETSTREAM, _NO_ACCOUNT = 10065, 10076, 10039  # JetStream's error codes
_COMPARED = ("retention", "storage", "max_age", "max_msgs_per_subject", "discard", "discard_new_per_subject")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NatsServer:
    """Where the server is and who we are. Secrets are asked for at each connecting, so that a changed file counts. Times in seconds."""

    url: str
    user: Callable[[], str] | None = None
    password: Callable[[], str] | None = None
    credentials_file: Path | None = None
    timeout: float = 5.0
    concurrency: int = 64

    @property
    def address(self) -> str:
        """Host and port, without what else the URL may hold."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or 4222}"


class NatsConnection:
    """Shared by the queue, the dead letters and the events of a process. `streams` are made where they are missing, before anything else is done."""

    def __init__(self, server: NatsServer, streams: Sequence[StreamConfig]) -> None:
        self._server = server
        self._streams = streams
        self._dependency = Dependency("queue", timeout=server.timeout, concurrency=server.concurrency, translate=self._translate)
        self._client: Client | None = None
        self._ready: Client | None = None  # the client over which the streams were looked at
        self._connecting = asyncio.Lock()
        self._refusal: Exception | None = None  # why the last attempt to connect failed

    async def call(self, work: Callable[[JetStreamContext], Awaitable[T]], *, retry: bool) -> T:
        """What `work` returns. Raises `Unavailable`, and `Conflict` when the server or a stream on it is not what is needed."""

        async def attempt(seconds: float) -> T:
            return await work((await self._usable()).jetstream(timeout=seconds))

        return await self._dependency.call(attempt, retry=retry)

    async def client(self) -> Client:
        """The connection itself, for subscriptions. Another one than before means that they are gone. Raises as `call`."""

        async def attempt(_: float) -> Client:
            return await self._usable()

        return await self._dependency.call(attempt, retry=False)

    async def close(self) -> None:
        """Ends the connection; nothing may be called afterwards."""
        if self._client is not None:
            await self._client.close()

    async def _usable(self) -> Client:
        async with self._connecting:
            if self._client is None or self._client.is_closed:
                self._client = await self._connect()
            if not self._client.is_connected:  # the client is at it already
                raise self._unreachable()
            if self._ready is not self._client:
                await self._look_around(self._client)
                self._ready = self._client
            return self._client

    async def _connect(self) -> Client:
        client, server = Client(), self._server
        secrets: dict[str, Any] = {"user": server.user, "password": server.password}
        if server.credentials_file is not None:
            secrets = {"user_credentials": str(server.credentials_file)}
        self._refusal = None
        try:
            await client.connect(
                server.url,
                name="ragstone",
                connect_timeout=_CONNECT,  # type: ignore[arg-type]  # a float does as well
                max_reconnect_attempts=1,
                reconnect_time_wait=0.1,  # type: ignore[arg-type]
                error_cb=self._told,
                **secrets,
            )
        except nats.errors.NoServersError:
            raise self._unreachable() from self._refusal
        except BaseException:
            await client.close()
            raise
        # From now on for ever: whoever calls meanwhile is told that it can't be reached.
        client.options["max_reconnect_attempts"] = -1
        client.options["reconnect_time_wait"] = _PAUSE
        return client

    async def _look_around(self, client: Client) -> None:
        version = client.connected_server_version
        if (version.major, version.minor) < OLDEST:
            raise Conflict(
                f"queue.url: the NATS server at {self._server.address} is {version}; {OLDEST[0]}.{OLDEST[1]} or newer is needed.",
                field="queue.url",
            )
        js = client.jetstream(timeout=self._server.timeout)
        try:
            await js.account_info()
        except ServiceUnavailableError as error:
            if error.err_code in (None, _NO_JETSTREAM, _NO_ACCOUNT):
                raise Conflict(
                    f"queue.url: the NATS server at {self._server.address} has JetStream off for this user; start it with --jetstream and a "
                    "directory of its own, or allow it for the account.",
                    field="queue.url",
                ) from None
            raise
        for wanted in self._streams:
            await _ensure(js, wanted)

    async def _told(self, error: Exception) -> None:
        self._refusal = error
        _log.debug("NATS: %s", error)

    def _unreachable(self) -> Unavailable:
        why = "can't be reached"
        if _is_refusal(self._refusal):
            why = "refuses the credentials; check queue's user and password, or its credentials_file"
        return Unavailable(f"queue: the NATS server at {self._server.address} {why}.", field="queue", retry_after=1.0)

    def _translate(self, error: Exception) -> RagstoneError | None:
        match error:
            case nats.errors.AuthorizationError():
                self._refusal = error
                return self._unreachable()
            case NoStreamResponseError() | NotFoundError():  # someone removed a stream: the next call makes it anew
                self._ready = None
                return Unavailable("queue: a stream is gone from the NATS server; it is made anew.", field="queue")
            case APIError():
                return Unavailable(f"queue: NATS refused it ({error.description or error.code}); try again.", field="queue")
            case nats.errors.Error() | JetStreamError() | TimeoutError() | OSError():
                return Unavailable("queue: the NATS server did not answer; try again.", field="queue")
            case _:
                return None


async def _ensure(js: JetStreamContext, wanted: StreamConfig) -> None:
    """Makes the stream where there is none; one that is there is only looked at. Raises `Conflict` when it is another than needed."""
    name, subjects = str(wanted.name), wanted.subjects or []
    try:
        found = (await js.stream_info(name)).config
    except NotFoundError:
        try:
            await js.add_stream(wanted)
        except APIError as error:
            if error.err_code == _OVERLAP:
                raise Conflict(
                    f"queue: another stream on the NATS server takes {subjects[0]}, which {name} needs; remove it or set another queue.stream_prefix.",
                    field="queue.stream_prefix",
                ) from None
            raise
        return
    if found.mirror or found.sources or found.sealed or found.no_ack or (found.subjects or []) != subjects:
        raise _another(name, f"takes {', '.join(found.subjects or ['no subjects'])}", subjects[0])
    for field in _COMPARED:
        has, needs = getattr(found, field) or 0, getattr(wanted, field) or 0
        if has != needs and (field != "max_msgs_per_subject" or max(has, 0) != max(needs, 0)):
            raise _another(name, f"has {field} {_word(has)}", _word(needs))


def _another(name: str, has: str, needs: str) -> Conflict:
    return Conflict(
        f"queue: the stream {name} on the NATS server {has} where {needs} is needed; someone else made it. Remove or rename it, or set another "
        "queue.stream_prefix.",
        field="queue.stream_prefix",
    )


def _word(value: object) -> str:
    return str(getattr(value, "value", value))


def _is_refusal(error: Exception | None) -> bool:
    return (
        isinstance(error, nats.errors.AuthorizationError) or "authorization" in str(error).lower() or "authentication" in str(error).lower()
    )
