"""Answers while the generator is down, over HTTP: made of quotations, and saying so wherever an answer is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from ragstone.adapters.extractive import ExtractiveGenerator
from ragstone.adapters.openai_generator import OpenAIGenerator
from ragstone.domain.errors import RagstoneError, Unavailable
from ragstone.domain.interactions import InteractionFilter
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from tests.api.conftest import FARES, Api, serve
from tests.api.test_query import ASKED, events
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.platform import fake_platform
from tests.support.chat_server import Call, chat_server
from tests.support.server import running

QUOTED = "A bicycle ticket costs four crowns. [1]"
CHAT: Any = [{"role": "user", "content": ASKED["question"]}]
GONE = Unavailable("The generator went away.")


@asynccontextmanager
async def asking(settings: Settings, *pieces: str, error: RagstoneError | None = GONE) -> AsyncIterator[tuple[Api, ScriptedGenerator]]:
    generator = ScriptedGenerator(pieces, error=error)
    async with serve(fake_platform(generator=generator, fallback=ExtractiveGenerator(HashingEmbeddingModel(32))), settings) as api:
        await api.ingest(FARES)
        yield api, generator


async def test_the_answer_the_logged_interaction_and_the_metric_say_so(settings: Settings) -> None:
    async with asking(settings) as (api, _):
        answer = await api.http.post("/query", json=ASKED)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["answer"]["text"], body["degraded"]) == (QUOTED, ["generation"])
        assert body["models"]["generator"].startswith("extractive:")
        assert body["release"]["generator"]["kind"] == "scripted"  # what it is set to, and what the next answer comes from again
        logged = (await api.http.get(f"/v1/interactions/{body['id']}")).json()
        assert (logged["degraded"], logged["models"], logged["release_id"]) == (["generation"], body["models"], body["release"]["id"])
        assert 'ragstone_answers_degraded_total{part="generation"} 1.0' in (await api.http.get("/metrics")).text


async def test_with_its_generator_an_answer_is_not_degraded(settings: Settings) -> None:
    async with asking(settings, QUOTED, error=None) as (api, _):
        body = (await api.http.post("/query", json=ASKED)).json()
        assert (body["degraded"], body["models"]["generator"]) == ([], "scripted:scripted")
        assert (await api.http.get(f"/v1/interactions/{body['id']}")).json()["degraded"] == []


async def test_a_replay_shows_which_of_the_two_answers_was_degraded(settings: Settings) -> None:
    async with asking(settings, "Four crowns. [1]") as (api, generator):
        first = (await api.http.post("/query", json=ASKED)).json()
        generator.error = None
        replayed = (await api.http.post(f"/v1/interactions/{first['id']}/replay")).json()
        assert (replayed["then"]["degraded"], replayed["now"]["degraded"]) == (["generation"], [])
        assert (replayed["now"]["answer"]["text"], replayed["same_release"]) == ("Four crowns. [1]", True)


async def test_a_stream_withdraws_what_came_before_the_generator_broke_off(settings: Settings) -> None:
    async with asking(settings, "Five ", "cro") as (api, _):
        told = events((await api.http.post("/query", json={**ASKED, "stream": True})).text)
    assert [name for name, _ in told] == ["passages", "delta", "delta", "withdrawn", "delta", "answer", ""]
    assert told[3][1] == {"reason": "generation"}
    assert (told[4][1]["text"], told[5][1]["answer"]["text"], told[5][1]["degraded"]) == (QUOTED, QUOTED, ["generation"])


async def test_openais_clients_are_told_beside_the_answer(settings: Settings) -> None:
    async with asking(settings) as (api, _), _client(api, settings) as client:
        done = await client.chat.completions.create(model="ragstone/handbook", messages=CHAT)
        extras: Any = done.model_extra
        assert (done.choices[0].message.content, extras["ragstone"]["degraded"]) == (QUOTED, ["generation"])
        stream = await client.chat.completions.create(model="ragstone/handbook", messages=CHAT, stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == QUOTED
        last: Any = chunks[-1].model_extra
        assert last["ragstone"]["degraded"] == ["generation"]


async def test_a_stream_of_openais_ends_with_an_error_as_it_can_withdraw_nothing(settings: Settings) -> None:
    async with asking(settings, "Five ") as (api, _), _client(api, settings) as client:
        stream = await client.chat.completions.create(model="ragstone/handbook", messages=CHAT, stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in stream:
                pass
        assert await api.platform.interactions.page(InteractionFilter()) == []


async def test_a_request_that_the_generator_refuses_is_the_clients_to_change(settings: Settings) -> None:
    async def reply(call: Call) -> None:
        await call.start(400, "application/json")
        await call.raw(b'{"error": {"code": "context_length_exceeded"}}')

    async with chat_server(reply) as server:
        generator = OpenAIGenerator(server.base_url, "tiny")
        platform = fake_platform(generator=generator, fallback=ExtractiveGenerator(HashingEmbeddingModel(32)))
        async with serve(platform, settings) as api:
            await api.ingest(FARES)
            answer = await api.http.post("/query", json=ASKED)
        await generator.aclose()
    assert (answer.status_code, "context_length_exceeded" in answer.json()["detail"]) == (422, True)


@asynccontextmanager
async def _client(api: Api, settings: Settings) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        running(create_app(api.platform, settings)) as address,
        openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client
