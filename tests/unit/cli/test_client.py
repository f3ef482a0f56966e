"""The client: problem documents, event streams, and an application in the same process behind the same transport as a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from ragstone.cli.api import ProblemError, url
from ragstone.cli.client import Client, parse_events
from ragstone.cli.in_process import InProcessTransport
from ragstone.domain.errors import InvalidInput

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def client(app: Callable[[Message, Receive, Send], Awaitable[None]]) -> Client:
    return Client(httpx.AsyncClient(transport=InProcessTransport(app), base_url="http://127.0.0.1"), remote=False)


async def start(send: Send, status: int = 200, media_type: bytes = b"application/json") -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", media_type)]})


async def body(send: Send, content: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": more})


async def lines(*texts: str) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def test_events_are_read_up_to_done() -> None:
    stream = lines(
        ": ping", "event: delta", 'data: {"text":', 'data:  "a"}', "", "data: {}", "id: 1", "", "data: [DONE]", "", "data: {}", ""
    )
    events = [(event.name, event.data) async for event in parse_events(stream)]
    assert events == [("delta", {"text": "a"}), ("message", {})]


async def test_a_body_is_handed_on_while_it_is_made() -> None:
    seen = asyncio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await start(send, media_type=b"text/event-stream")
        await body(send, b'data: {"n": 1}\n\n', more=True)
        await asyncio.wait_for(seen.wait(), 60)  # would end here if the first event were held back
        await body(send, b'data: {"n": 2}\n\ndata: [DONE]\n\n')

    numbers = []
    async for event in client(app).events("GET", "/x"):
        numbers.append(event.data["n"])
        seen.set()
    assert numbers == [1, 2]


async def test_the_application_sees_a_client_that_leaves() -> None:
    ended = asyncio.Event()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        try:
            await start(send, media_type=b"text/event-stream")
            while True:
                await body(send, b"data: {}\n\n", more=True)
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with aclosing(client(app).events("GET", "/x")) as events:
        async for _ in events:
            break
    await asyncio.wait_for(ended.wait(), 60)


async def test_an_error_event_and_an_error_status_are_problems() -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/status":
            await start(send, 404, b"application/problem+json")
            await body(send, b'{"title": "Not found", "detail": "Nothing here.", "status": 404}')
        elif scope["path"] == "/plain":
            await start(send, 502, b"text/html")
            await body(send, b"<h1>Bad gateway</h1>")
        else:
            await start(send, media_type=b"text/event-stream")
            await body(send, b'event: error\ndata: {"detail": "It broke.", "status": 503}\n\n')

    with pytest.raises(ProblemError, match="Nothing here") as missing:
        await client(app).get("/status")
    with pytest.raises(ProblemError, match="502") as plain:
        await client(app).get("/plain")
    with pytest.raises(ProblemError, match="It broke") as broken:
        await anext(client(app).events("GET", "/events"))
    assert [error.value.status for error in (missing, plain, broken)] == [404, 502, 503]


async def test_an_application_that_raises_after_it_has_answered_is_as_over_a_socket() -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await start(send, 500)
        await body(send, b'{"detail": "An internal error.", "status": 500}')
        raise ZeroDivisionError

    with pytest.raises(ProblemError, match="An internal error"):
        await client(app).get("/x")


@pytest.mark.parametrize("begun", [False, True])
async def test_an_application_that_ends_without_an_answer_is_a_broken_connection(begun: bool) -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if begun:
            await start(send)
            await body(send, b"{", more=True)
        raise ZeroDivisionError

    with pytest.raises(ProblemError, match="broke"):
        await client(app).get("/x")


async def test_what_breaks_a_request_body_is_raised_where_it_was_sent() -> None:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await start(send, 422)
        await body(send, b'{"detail": "The body ended early.", "status": 422}')

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise InvalidInput("a.md: it can't be read any more.")

    with pytest.raises(InvalidInput, match="any more"):
        await client(app).upload("/x", broken(), "text/plain", {})


async def test_requests_arrive_as_they_were_made() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        seen.update(scope)
        message = await receive()
        content = message["body"]
        while message.get("more_body"):
            message = await receive()
            content += message["body"]
        seen["content"] = content
        await start(send)
        await body(send, b"{}")

    await client(app).post(url("collections", "docs", "documents", "a b/ü?.md"), {"a": 1, "b": None}, headers={"If-Match": '""'})
    assert seen["path"] == "/v1/collections/docs/documents/a b/ü?.md"
    assert seen["content"] == b'{"a":1}'
    assert (b"if-match", b'""') in seen["headers"]
