"""The generation service over an engine that says what it is told to: who gets in, what is passed on, what is said when something breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from ragstone.domain.errors import Unavailable
from ragstone.services.generation.app import create_app
from ragstone.services.generation.chat import Chat
from ragstone.services.generation.serving import Serving, new_serving
from ragstone.services.orchestrator.management import create_management_app
from ragstone.settings.generation_service import GenerationService
from ragstone.settings.model import Settings
from tests.fakes.generation_engine import WINDOW, ScriptedEngine
from tests.support.server import running

_PATIENCE = 60.0  # seconds
CHAT = "/v1/chat/completions"


def asked(text: str = "What is quartz?", **changes: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": text}], **changes}


@asynccontextmanager
async def served(engine: ScriptedEngine, **service: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Serving]]:
    settings = Settings(generation_service=GenerationService(model="x", **service))
    serving = new_serving(settings, engine)
    await engine.start()
    async with (
        running(create_app(serving, None, Chat(serving))) as address,
        httpx.AsyncClient(base_url=address, timeout=_PATIENCE) as client,
    ):
        yield client, serving


async def first_piece(response: httpx.Response) -> tuple[bytes, AsyncIterator[bytes]]:
    pieces = response.aiter_bytes()
    return await anext(pieces), pieces


async def test_a_stream_is_passed_on_as_it_is_and_names_its_model() -> None:
    async with served(ScriptedEngine(["Quartz", " is"])) as (client, _), client.stream("POST", CHAT, json=asked(stream=True)) as response:
        text = (await response.aread()).decode()
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-ragstone-model"] == "scripted"
    assert response.headers["x-ragstone-model-version"] == "7"
    assert response.headers["x-ragstone-model-digest"] == "d" * 64
    assert [json.loads(line[6:])["choices"][0]["delta"]["content"] for line in text.split("\n\n")[:2]] == ["Quartz", " is"]
    assert text.endswith("data: [DONE]\n\n")


async def test_the_settings_say_for_how_long_tokens_are_put_together() -> None:
    engine = ScriptedEngine()
    async with served(engine, piece_seconds=0.25) as (client, _):
        await client.post(CHAT, json=asked(stream=True))
    assert engine.every == 0.25


@pytest.mark.parametrize(
    ("piece_seconds", "of_the_last"), [(0.06, [0.06, 0.06, 0.06, 0.08, 0.1]), (0.0, [0.0] * 5), (0.2, [0.2, 0.2, 0.2, 0.25, 0.25])]
)
async def test_the_more_answers_there_are_at_once_the_longer_their_pieces_may_take(piece_seconds: float, of_the_last: list[float]) -> None:
    engine = ScriptedEngine(blocks=True)
    async with served(engine, piece_seconds=piece_seconds, running=5) as (client, serving), AsyncExitStack() as open_streams:
        found, kept = [], []
        for _ in of_the_last:
            response = await open_streams.enter_async_context(client.stream("POST", CHAT, json=asked(stream=True)))
            kept.append(await first_piece(response))  # a stream that nobody holds is closed
            found.append(engine.every)
        assert found == pytest.approx(of_the_last)
        await open_streams.aclose()
        async with asyncio.timeout(_PATIENCE):
            while serving.inside:  # noqa: ASYNC110 - the service tells nobody
                await asyncio.sleep(0.01)


async def test_an_answer_at_once_is_passed_on() -> None:
    async with served(ScriptedEngine()) as (client, _):
        response = await client.post(CHAT, json=asked())
    assert response.json()["choices"][0]["message"]["content"] == "Quartz [1]."
    assert response.headers["x-ragstone-model-digest"] == "d" * 64


async def test_the_engine_gets_what_is_known_and_no_more_tokens_than_may_be() -> None:
    engine = ScriptedEngine()
    async with served(engine, max_tokens=100) as (client, _):
        await client.post(CHAT, json=asked(max_tokens=5, temperature=0.5, seed=3, stop=["x"], user="u", n=1))
        await client.post(CHAT, json=asked(max_completion_tokens=1_000))
        await client.post(
            CHAT, json=asked(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}})
        )
    assert engine.bodies[0] == {
        **asked(max_tokens=5, temperature=0.5, seed=3, stop=["x"]),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert engine.bodies[1]["max_tokens"] == engine.bodies[2]["max_tokens"] == 100
    assert engine.bodies[2]["response_format"] == {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"model": "other"}, 404, "model"),
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]}]}, 422, "messages"),
        ({"chat_template": "{{ x }}"}, 422, "chat_template"),
        ({"max_tokens": 0}, 422, "max_tokens"),
        ({"temperature": 3}, 422, "temperature"),
        ({"n": 2}, 422, "n"),
    ],
)
async def test_what_is_wrong_is_refused_before_the_engine_hears_of_it(changes: dict[str, Any], status: int, field: str) -> None:
    engine = ScriptedEngine()
    async with served(engine) as (client, _):
        response = await client.post(CHAT, json={**asked(), **changes})
        big = await client.post(CHAT, content=b"x" * (2**23 + 1), headers={"content-type": "application/json"})
        form = await client.post(CHAT, data={"model": "scripted"})
    assert response.status_code == status
    assert response.json()["error"]["param"].split(".")[0] == field
    assert (big.status_code, form.status_code) == (413, 415)
    assert engine.bodies == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_beyond_the_context_is_400_in_openais_word(*, stream: bool) -> None:
    engine = ScriptedEngine()
    async with served(engine) as (client, _):
        response = await client.post(CHAT, json=asked("?" * (WINDOW + 1), stream=stream))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert engine.running == 0


async def test_an_engine_that_is_away_is_503_with_a_time() -> None:
    engine = ScriptedEngine()
    async with served(engine) as (client, _):
        engine.up = False
        response, ready, health = await client.post(CHAT, json=asked()), await client.get("/readyz"), await client.get("/healthz")
        assert (await client.get("/v1/models")).status_code == 503
        engine.up, engine.status = True, 500
        broken = await client.post(CHAT, json=asked())
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert (ready.status_code, health.status_code) == (503, 200)
    assert (broken.status_code, broken.headers["retry-after"]) == (503, "1")
    assert engine.running == 0


async def test_an_engine_lost_for_ever_fails_the_health_check() -> None:
    engine = ScriptedEngine()
    async with served(engine) as (client, _):
        engine.lost = True
        assert (await client.get("/healthz")).status_code == 503


async def test_breaking_off_is_an_event_and_no_done() -> None:
    engine = ScriptedEngine(error=Unavailable("The engine broke off.", field="engine"))
    async with served(engine) as (client, _):
        streamed, whole = await client.post(CHAT, json=asked(stream=True)), await client.post(CHAT, json=asked())
    *_, last = streamed.text.strip().split("\n\n")
    assert json.loads(last[6:])["error"]["message"] == "The engine broke off."
    assert "[DONE]" not in streamed.text
    assert whole.status_code == 503
    assert engine.running == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_takes_too_long_is_ended(*, stream: bool) -> None:
    engine = ScriptedEngine(blocks=True)
    async with served(engine, answer_seconds=0.3) as (client, _):
        response = await client.post(CHAT, json=asked(stream=stream))
    assert "took too long" in response.text
    assert response.status_code == (200 if stream else 503)
    assert engine.running == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_ends_the_work(*, stream: bool) -> None:
    engine = ScriptedEngine(blocks=True)
    async with served(engine) as (client, serving):
        request = asyncio.ensure_future(client.post(CHAT, json=asked(stream=stream)))
        async with asyncio.timeout(_PATIENCE):
            while not engine.running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            request.cancel()
            while engine.running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            while not serving.metrics.answers.labels("disconnected")._value.get():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert serving.metrics.inside._value.get() == 0


async def test_more_than_run_and_wait_are_429_until_one_has_gone() -> None:
    engine = ScriptedEngine(blocks=True)
    async with served(engine, running=1, waiting=1) as (client, _):
        async with client.stream("POST", CHAT, json=asked(stream=True)) as one, client.stream("POST", CHAT, json=asked(stream=True)) as two:
            await first_piece(one)
            await first_piece(two)
            refused = await client.post(CHAT, json=asked())
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert engine.running == 2
        engine.blocks = False
        async with asyncio.timeout(_PATIENCE):
            while (response := await client.post(CHAT, json=asked())).status_code == 429:  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.02)
    assert response.status_code == 200


async def test_a_server_that_stops_takes_nothing_new_and_says_so() -> None:
    async with served(ScriptedEngine()) as (client, serving):
        serving.stopping = True
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.post(CHAT, json=asked())).status_code == 503
        assert (await client.get("/healthz")).status_code == 200


async def test_a_conversation_of_no_message_is_told_in_words() -> None:
    async with served(ScriptedEngine()) as (client, _):
        answer = await client.post(CHAT, json=asked() | {"messages": []})
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, "messages: give at least 1.")


async def test_adapters_are_listed_and_may_be_asked_for() -> None:
    engine = ScriptedEngine(names=("base", "legal"))
    async with served(engine) as (client, _):
        listed = (await client.get("/v1/models")).json()["data"]
        assert [(each["id"], each.get("parent")) for each in listed] == [("base", None), ("legal", "base")]
        assert (await client.get("/v1/models/legal")).json() == listed[1]
        assert (await client.get("/v1/models/other")).status_code == 404
        assert (await client.get("/nothing")).json()["detail"] == "There is nothing at this path."  # no page of docs to look at
        assert (await client.post(CHAT, json={**asked(), "model": "legal"})).status_code == 200
    assert engine.bodies[0]["model"] == "legal"


async def test_metrics_are_its_own_and_then_the_engines() -> None:
    engine = ScriptedEngine()
    async with served(engine) as (client, serving):
        await client.post(CHAT, json=asked())
        async with running(create_management_app(create_app(serving, None, Chat(serving)))) as management:
            text = (await client.get(f"{management}/metrics")).text
        assert text.rstrip().endswith("scripted:running 0")
        assert 'ragstone_generation_answers_total{outcome="whole"} 1.0' in text
        assert "ragstone_generation_engine_ready 1.0" in text
        assert 'ragstone_served_model_info{digest="' in text
        engine.up = False
        assert "ragstone_generation_engine_ready 0.0" in (await client.get("/metrics")).text


async def test_pages_of_other_origins_are_refused() -> None:
    async with served(ScriptedEngine()) as (client, _):
        assert (await client.post(CHAT, json=asked(), headers={"origin": "http://example.org"})).status_code == 403
