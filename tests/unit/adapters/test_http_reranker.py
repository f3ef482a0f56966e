"""What goes over the wire in each dialect, what comes back and is refused, and an endpoint that fails."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ragstone.adapters.http_reranker import Dialect, HttpReranker
from ragstone.domain.deadline import deadline
from ragstone.domain.errors import InvalidInput, Unavailable
from tests.support.chat_server import Call, ChatServer, Reply, chat_server
from tests.support.rerank_server import DIALECTS, answer, send

TEXTS = ["oil", "red pump", "valve"]
SCORES = [0.25, 7.5, -3.0]


@asynccontextmanager
async def asking(reply: Reply, dialect: Dialect = "tei", **options: Any) -> AsyncIterator[tuple[HttpReranker, ChatServer]]:
    async with chat_server(reply) as server:
        reranker = HttpReranker(server.base_url.removesuffix("/v1") + DIALECTS[dialect], "judge", dialect=dialect, **options)
        yield reranker, server
        await reranker.close()


async def well(call: Call) -> None:
    await send(call, answer(call, SCORES))


@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [
        ("tei", "/rerank", {"query": "q", "texts": TEXTS, "raw_scores": True, "truncate": True, "return_text": False}),
        ("cohere", "/v2/rerank", {"model": "judge", "query": "q", "documents": TEXTS, "top_n": 3}),
        ("jina", "/v1/rerank", {"model": "judge", "query": "q", "documents": TEXTS, "top_n": 3, "return_documents": False}),
    ],
)
async def test_each_dialect_s_request_and_answer(dialect: Dialect, path: str, body: dict[str, Any]) -> None:
    async with asking(well, dialect) as (reranker, server):
        assert await reranker.score("q", TEXTS) == SCORES
    [call] = server.calls
    assert (call.path, call.body, call.headers["content-type"]) == (path, body, "application/json")
    assert "authorization" not in call.headers


async def test_the_key_of_now_goes_into_the_header_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    keys = iter(["first-key", "second-key"])
    with caplog.at_level(logging.DEBUG):
        async with asking(well, "cohere", api_key=lambda: next(keys)) as (reranker, server):
            await reranker.score("q", TEXTS)
            await reranker.score("q", TEXTS)
    assert [call.headers["authorization"] for call in server.calls] == ["Bearer first-key", "Bearer second-key"]
    assert "-key" not in json.dumps([call.body for call in server.calls]) + caplog.text


async def test_texts_beyond_a_request_s_bound_go_in_several() -> None:
    async def by_length(call: Call) -> None:
        await send(call, answer(call, [float(len(text)) for text in call.body["texts"]]))

    texts = ["o" * number for number in range(70)]
    for batch, requests in ((None, [6, 32, 32]), (50, [20, 50])):
        async with asking(by_length, batch=batch) as (reranker, server):
            assert await reranker.score("q", texts) == [float(number) for number in range(70)]
        assert sorted(len(call.body["texts"]) for call in server.calls) == requests


async def test_as_many_requests_as_may_be_run_at_once() -> None:
    running = most = 0

    async def slow(call: Call) -> None:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0.02)
        running -= 1
        await send(call, answer(call, [1.0]))

    async with asking(slow, batch=1, concurrency=3) as (reranker, _):
        await asyncio.gather(*(reranker.score("q", TEXTS) for _ in range(4)))
    assert most == 3


async def test_a_text_is_sent_as_far_as_a_model_could_read_it() -> None:
    async with asking(well) as (reranker, server):
        await reranker.score("q", ["o" * 100_000, "a", "b"])
    assert [len(text) for text in server.calls[0].body["texts"]] == [65_536, 1, 1]


ROWS = [{"index": index, "score": score} for index, score in enumerate(SCORES)]
BAD: dict[str, tuple[Any, str]] = {
    "one is missing": (ROWS[:2], "each of 3 texts once"),
    "one comes twice": ([*ROWS, ROWS[0]], "each of 3 texts once"),
    "one twice and one missing": ([*ROWS[:2], ROWS[0]], "each of 3 texts once"),
    "an index beyond": ([*ROWS[:2], {"index": 3, "score": 1.0}], "each of 3 texts once"),
    "an index below": ([*ROWS[:2], {"index": -1, "score": 1.0}], "each of 3 texts once"),
    "an index that is none": ([*ROWS[:2], {"index": True, "score": 1.0}], "another shape"),
    "not a number": ([*ROWS[:2], {"index": 2, "score": float("nan")}], "not finite"),
    "infinite": ([*ROWS[:2], {"index": 2, "score": float("inf")}], "not finite"),
    "beyond a float": ([*ROWS[:2], {"index": 2, "score": 10**400}], "another shape"),
    "a word": ([*ROWS[:2], {"index": 2, "score": "high"}], "another shape"),
    "no score": ([*ROWS[:2], {"index": 2}], "another shape"),
    "no rows": (7, "another shape"),
    "the other dialect": ({"results": [{"index": 0, "relevance_score": 1.0}]}, "another shape"),
}


@pytest.mark.parametrize("what", BAD)
async def test_an_answer_of_another_shape_is_unavailable(what: str) -> None:
    form, message = BAD[what]
    async with asking(lambda call: send(call, form)) as (reranker, _):
        with pytest.raises(Unavailable, match=message):
            await reranker.score("q", TEXTS)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b"\xff"])
async def test_an_answer_that_is_no_json_is_unavailable(body: bytes) -> None:
    async def other(call: Call) -> None:
        await call.start(200, "application/json")
        await call.raw(body)

    async with asking(other) as (reranker, _):
        with pytest.raises(Unavailable, match="another shape"):
            await reranker.score("q", TEXTS)


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    sent = 0

    async def endless(call: Call) -> None:
        nonlocal sent
        await call.start(200, "application/json")
        while True:
            await call.raw(b" " * 2**20)
            sent += 1

    async with asking(endless) as (reranker, _):
        with pytest.raises(Unavailable, match="more than 16,777,216 bytes"):
            await asyncio.wait_for(reranker.score("q", TEXTS), 60)
        await asyncio.sleep(0.05)  # the connection is closed, so nothing more is sent
        assert sent < 64
        before = sent
        await asyncio.sleep(0.05)
        assert sent == before


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "status 401; check its API key"),
        (404, "status 404; check its base URL and model"),
        (307, "status 307"),
        (400, "refuses the texts with status 400"),
        (413, "refuses the texts with status 413; check reranker.batch"),
        (422, "refuses the texts with status 422"),
        (424, "status 424"),
        (500, "status 500"),
    ],
)
async def test_what_it_refuses_is_unavailable_and_repeats_nothing_of_its_words(status: int, message: str) -> None:
    async with asking(lambda call: send(call, {"error": "Bearer secret-key is wrong"}, status)) as (reranker, server):
        with pytest.raises(Unavailable, match=message) as raised:
            await reranker.score("q", TEXTS)
    assert "secret" not in str(raised.value)
    assert len(server.calls) == 1  # the order without it is at hand


async def test_one_that_has_too_much_to_do_says_for_how_long() -> None:
    async with asking(lambda call: send(call, {"error": "Model is overloaded"}, 429, Retry_After="3")) as (reranker, _):
        with pytest.raises(Unavailable, match="too much to do") as raised:
            await reranker.score("q", TEXTS)
    assert raised.value.retry_after == 3


async def test_one_that_fails_again_and_again_is_not_asked_for_a_while() -> None:
    async with asking(lambda call: send(call, {}, 500)) as (reranker, server):
        for _ in range(8):
            with pytest.raises(Unavailable):
                await reranker.score("q", TEXTS)
        assert len(server.calls) == 5


async def test_texts_that_are_refused_say_nothing_against_it() -> None:
    async with asking(lambda call: send(call, {}, 413)) as (reranker, server):
        for _ in range(8):
            with pytest.raises(Unavailable):
                await reranker.score("q", TEXTS)
        assert len(server.calls) == 8


async def test_one_that_hangs_is_left_after_the_timeout_or_the_request_s_deadline() -> None:
    async with asking(lambda _: asyncio.Event().wait(), timeout=0.05) as (reranker, server):  # type: ignore[arg-type, return-value]
        with pytest.raises(Unavailable, match="in time"):
            await asyncio.wait_for(reranker.score("q", TEXTS), 60)
        await asyncio.wait_for(server.dropped.wait(), 60)
    async with asking(lambda _: asyncio.Event().wait(), timeout=600) as (reranker, _):  # type: ignore[arg-type, return-value]
        with deadline(0.05), pytest.raises(Unavailable):
            await asyncio.wait_for(reranker.score("q", TEXTS), 60)


async def test_one_that_breaks_off_is_unavailable() -> None:
    async def cut(call: Call) -> None:
        await call.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[")
        call.cut()

    async with asking(cut) as (reranker, _):
        with pytest.raises(Unavailable, match="broke off"):
            await reranker.score("q", TEXTS)


@pytest.mark.parametrize(("dialect", "path"), [("tei", "/health"), ("cohere", "/v2/models"), ("jina", "/v1/models")])
async def test_its_health_is_asked_for_at_no_cost(dialect: Dialect, path: str) -> None:
    status = 200
    async with asking(lambda call: send(call, {}, status), dialect, api_key=lambda: "k") as (reranker, server):
        await reranker.check()
        status = 404  # an endpoint without such a list is there, too
        await reranker.check()
        for status in (401, 503):  # noqa: B007 - read by the server
            with pytest.raises(Unavailable, match="status"):
                await reranker.check()
    assert {call.path for call in server.calls} == {path}


@pytest.mark.parametrize("url", ["", "ftp://x/", "http://", "http://user:pass@x/", "http://x/?key=1", "127.0.0.1:8080"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"reranker\.base_url") as raised:
        HttpReranker(url, "judge", dialect="tei")
    assert "pass" not in raised.value.message.replace("password", "")
