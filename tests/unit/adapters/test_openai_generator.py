"""What an endpoint can do wrong, and what of it is passed on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from ragstone.adapters.openai_generator import OpenAIGenerator
from ragstone.domain.answers import Usage
from ragstone.domain.errors import Busy, InvalidInput, Unavailable
from ragstone.domain.generation import GeneratedText, GenerationEvent, GenerationFinished
from tests.support.chat_server import Call, ChatServer, chat_server, hang, quote
from tests.support.passages import passages, request

SECRET = "sk-very-secret"
ASK = request("What is quartz?", passages("Quartz is a mineral."))


@asynccontextmanager
async def endpoint(reply: Callable[[Call], Awaitable[None]]) -> AsyncIterator[tuple[OpenAIGenerator, ChatServer]]:
    async with chat_server(reply) as server:
        generator = OpenAIGenerator(server.base_url + "/", "tiny", api_key=lambda: SECRET, context_window=4096)
        yield generator, server
        await generator.aclose()


async def collect(generator: OpenAIGenerator, timeout: float = 5.0) -> list[GenerationEvent]:  # noqa: ASYNC109 - the request's own
    async with asyncio.timeout(60):
        return [event async for event in generator.stream(request("What is quartz?", ASK.passages, timeout=timeout))]


async def failure(reply: Callable[[Call], Awaitable[None]], timeout: float = 5.0) -> Unavailable:  # noqa: ASYNC109
    async with endpoint(reply) as (generator, _):
        with pytest.raises(Unavailable) as raised:
            await collect(generator, timeout)
    assert SECRET not in str(raised.value)
    return raised.value


async def test_the_key_of_now_is_sent() -> None:
    keys = ["first", "second"]
    async with chat_server(quote) as server:
        generator = OpenAIGenerator(server.base_url, "tiny", api_key=lambda: keys.pop(0))
        await collect(generator)
        await collect(generator)
        await generator.aclose()
    assert [call.headers["authorization"] for call in server.calls] == ["Bearer first", "Bearer second"]


async def test_what_comes_together_is_one_piece_and_what_comes_apart_is_not_waited_for() -> None:
    read = asyncio.Event()

    async def reply(call: Call) -> None:
        await call.start()
        deltas = [{"choices": [{"delta": {"content": word}}]} for word in ("Quartz ", "is ")]
        await call.raw("".join(f"data: {json.dumps(delta)}\n\n" for delta in deltas).encode())
        await read.wait()
        await call.delta("a mineral.", "stop")

    async with endpoint(reply) as (generator, _), asyncio.timeout(60):
        texts = []
        async for event in generator.stream(request("What is quartz?", ASK.passages)):
            if isinstance(event, GeneratedText):
                texts.append(event.text)
                read.set()
    assert texts == ["Quartz is ", "a mineral."]


async def test_after_the_last_word_events_may_tell_what_they_like_and_no_done_is_needed() -> None:
    async def reply(call: Call) -> None:
        await call.start()
        await call.delta("Quartz.", "stop")
        await call.event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
        await call.event({"choices": [{"delta": {}}]})

    async with endpoint(reply) as (generator, _):
        assert await collect(generator) == [GeneratedText("Quartz."), GenerationFinished(Usage(7, 3))]


async def test_the_request_follows_the_protocol() -> None:
    async with endpoint(quote) as (generator, server):
        *pieces, finished = await collect(generator)
        call = server.calls[0]
    assert "".join(piece.text for piece in pieces if isinstance(piece, GeneratedText)) == "Quartz is a mineral. [1]"
    assert finished == GenerationFinished(Usage(21, 7))
    assert call.path == "/v1/chat/completions"
    assert call.headers["authorization"] == f"Bearer {SECRET}"
    assert call.body == {
        "model": "tiny",
        "messages": [{"role": "system", "content": ASK.system}, {"role": "user", "content": ASK.user}],
        "max_tokens": 200,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_no_key_no_header() -> None:
    async with chat_server(quote) as server:
        generator = OpenAIGenerator(server.base_url, "tiny")
        await collect(generator)
        await generator.aclose()
        assert "authorization" not in server.calls[0].headers


def test_the_key_shows_nowhere() -> None:
    generator = OpenAIGenerator("http://127.0.0.1:1/v1", "tiny", api_key=lambda: SECRET)
    assert SECRET not in repr(generator)
    assert SECRET not in str(generator.identity)


async def test_usage_is_estimated_when_the_endpoint_gives_none() -> None:
    async def reply(call: Call) -> None:
        await call.start()
        await call.delta("Quartz is a mineral. [1]", finish="stop")
        await call.event("[DONE]")

    async with endpoint(reply) as (generator, _):
        finished = (await collect(generator))[-1]
        assert isinstance(finished, GenerationFinished)
        assert finished.usage.completion_tokens == generator.count_tokens("Quartz is a mineral. [1]")
        assert finished.usage.prompt_tokens > 0


async def test_events_split_anywhere_and_odd_line_ends_are_read() -> None:
    async def reply(call: Call) -> None:
        await call.start()
        piece = '{"choices":[{"delta":{"content":"a\u2028b\u0085ö"}}]}'  # separators of lines for Python, not for the protocol
        data = f'data: {piece}\r\n\r\nevent: x\ndata:{{"choices":[{{"delta":{{}},"finish_reason":"length"}}]}}'.encode()
        for at in range(len(data)):
            await call.raw(data[at : at + 1])

    async with endpoint(reply) as (generator, _):
        events = await collect(generator)
    assert events[0] == GeneratedText("a\u2028b\u0085ö")
    assert isinstance(events[-1], GenerationFinished)


@pytest.mark.parametrize(
    "data",
    [
        "{not json",
        "[]",
        '"text"',
        '{"choices":[7]}',
        '{"choices":{"a":1}}',
        '{"choices":[{"delta":{"content":7}}]}',
        '{"choices":[{"delta":"x"}]}',
    ],
)
async def test_a_malformed_event_is_unavailable(data: str) -> None:
    async def reply(call: Call) -> None:
        await call.start()
        await call.event(data)

    assert "event" in (await failure(reply)).message


async def test_a_stream_that_breaks_off_is_unavailable() -> None:
    async def ends(call: Call) -> None:
        await call.start()
        await call.delta("Quartz is ")

    async def aborts(call: Call) -> None:
        await call.start(content_length="1000")
        await call.delta("Quartz is ")
        call.cut()

    assert "broke off" in (await failure(ends)).message
    assert "broke off" in (await failure(aborts)).message


async def test_an_event_without_end_is_unavailable() -> None:
    async def reply(call: Call) -> None:
        await call.start()
        await call.raw(b"data: " + b"x" * (2**20 + 10))
        await asyncio.Event().wait()

    assert "without end" in (await failure(reply)).message


async def test_an_error_inside_the_stream_is_unavailable_and_not_quoted() -> None:
    async def reply(call: Call) -> None:
        await call.start()
        await call.event({"error": {"message": f"bad key {SECRET}"}})

    assert "reported an error" in (await failure(reply)).message


@pytest.mark.parametrize(("status", "hint"), [(500, "500"), (401, "API key"), (404, "model"), (302, "302")])
async def test_a_refusal_names_its_status_but_not_its_body(status: int, hint: str) -> None:
    async def reply(call: Call) -> None:
        await call.start(status, "application/json", location="http://127.0.0.1:9/elsewhere")
        await call.raw(b'{"error": {"message": "bad key sk-very-secret", "code": "bad_thing", "type": "Has spaces"}}')

    message = (await failure(reply)).message
    assert str(status) in message
    assert hint in message
    assert "bad_thing" in message


async def test_a_page_instead_of_events_is_unavailable() -> None:
    async def reply(call: Call) -> None:
        await call.start(200, "text/html")
        await call.raw(b"<html>Welcome</html>")

    assert "base URL" in (await failure(reply)).message


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None)])
async def test_too_many_requests_is_busy(value: str, seconds: float | None) -> None:
    async def reply(call: Call) -> None:
        await call.start(429, "application/json", retry_after=value)

    async with endpoint(reply) as (generator, _):
        with pytest.raises(Busy) as raised:
            await collect(generator)
    assert raised.value.retry_after == seconds


async def test_a_slow_endpoint_runs_into_the_deadline_before_its_head_and_after() -> None:
    async def silent(call: Call) -> None:
        await asyncio.Event().wait()

    assert "in time" in (await failure(silent, timeout=0.05)).message
    assert "in time" in (await failure(hang, timeout=0.05)).message


async def test_drops_do_not_reset_the_deadline() -> None:
    async def drip(call: Call) -> None:
        await call.start()
        while True:
            await call.raw(b": keep-alive\n\n")
            await asyncio.sleep(0.01)

    assert "in time" in (await failure(drip, timeout=0.1)).message


async def test_the_consumers_own_time_does_not_count_as_an_error() -> None:
    blocked = asyncio.Event()

    async def reply(call: Call) -> None:
        await call.start()
        await call.delta("Quartz ")
        await blocked.wait()
        await call.delta("is a mineral.", "stop")

    async with endpoint(reply) as (generator, _), aclosing(generator.stream(ASK)) as events:
        assert isinstance(await anext(events), GeneratedText)
        asyncio.get_running_loop().call_later(0.02, blocked.set)
        await blocked.wait()
        assert isinstance(await anext(events), GeneratedText)


async def test_closing_the_stream_closes_the_connection() -> None:
    async with endpoint(hang) as (generator, server):
        async with aclosing(generator.stream(ASK)) as events:
            await anext(events)
        await asyncio.wait_for(server.dropped.wait(), 60)


async def test_cancelling_closes_the_connection() -> None:
    async with endpoint(hang) as (generator, server):
        task = asyncio.ensure_future(collect(generator, timeout=600))
        while not server.calls:  # noqa: ASYNC110 - the server's own state
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.dropped.wait(), 60)


async def test_nobody_listening_is_unavailable() -> None:
    async with chat_server(quote) as server:
        address = server.base_url
    generator = OpenAIGenerator(address, "tiny")
    with pytest.raises(Unavailable, match=r"cannot be reached .* is it up, and generator\.base_url its address"):
        await collect(generator)
    await generator.aclose()


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_the_request_itself_is_to_blame_for_is_invalid_input(status: int) -> None:
    async def reply(call: Call) -> None:
        await call.start(status, "application/json")

    async with endpoint(reply) as (generator, _):
        for _ in range(6):  # and nothing against the endpoint: it is asked each time
            with pytest.raises(InvalidInput, match=str(status)):
                await collect(generator)


async def test_an_answer_that_does_not_begin_in_time_is_unavailable_long_before_the_whole_one_would_be() -> None:
    async def slow(call: Call) -> None:
        await call.start()
        await call.event({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]})
        await asyncio.Event().wait()

    async with chat_server(slow) as server:
        generator = OpenAIGenerator(server.base_url, "tiny", first_token_timeout=0.1)
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable, match="in time"):
                await collect(generator, timeout=600)
        await generator.aclose()


@pytest.mark.parametrize("kind", ["refuses", "fails", "breaks off"])
async def test_an_endpoint_that_is_down_is_not_asked_each_time(kind: str) -> None:
    async def reply(call: Call) -> None:
        await call.start(500 if kind == "fails" else 200)

    async with chat_server(reply) as server:
        generator = OpenAIGenerator("http://127.0.0.1:1/v1" if kind == "refuses" else server.base_url, "tiny")
        for _ in range(5):
            with pytest.raises(Unavailable):
                await collect(generator)
        asked = len(server.calls)
        with pytest.raises(Unavailable, match="not asked now"):
            await collect(generator)
        assert len(server.calls) == asked
        await generator.aclose()


async def test_one_more_answer_than_may_be_at_once_is_busy() -> None:
    async with chat_server(hang) as server:
        generator = OpenAIGenerator(server.base_url, "tiny", concurrency=1)
        async with aclosing(generator.stream(ASK)) as first:
            await anext(first)
            with pytest.raises(Busy):
                await collect(generator)
        await generator.aclose()


async def test_a_check_asks_for_the_models_whatever_was_last_answered() -> None:
    async def reply(call: Call) -> None:
        await call.start(statuses[0], "application/json")

    statuses = [200]
    async with endpoint(reply) as (generator, server):
        await generator.check()
        assert server.calls[0].path == "/v1/models"
        statuses[0] = 404
        await generator.check()
        for status in (500, 503, 401):
            statuses[0] = status
            with pytest.raises(Unavailable, match=str(status)):
                await generator.check()
    with pytest.raises(Unavailable, match="cannot be reached"):
        await OpenAIGenerator("http://127.0.0.1:1/v1", "tiny").check()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://host/v1", "http://user:pw@host/v1", "http://host/v1?key=1", "http://", "http://[::1"]
)
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        OpenAIGenerator(url, "tiny")
    assert raised.value.field == "generator.base_url"


def test_estimates_are_above_what_word_pieces_need() -> None:
    generator = OpenAIGenerator("http://127.0.0.1:1/v1", "tiny")
    assert generator.count_tokens("The Denver Broncos won 24–10.") >= 10
    assert generator.count_tokens("東京") >= 2
    assert generator.count_tokens("x = foo(bar)[1]") >= 9
