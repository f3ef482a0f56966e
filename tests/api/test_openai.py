"""The OpenAI-compatible routes, through OpenAI's own client over a real socket."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from ragstone.domain.errors import Unavailable
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from tests.api.conftest import FARES, GUIDE, Api, serve
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.platform import fake_platform
from tests.support.server import running

QUESTION: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Something else."},
    {"role": "assistant", "content": "No."},
    {"role": "user", "content": [{"type": "text", "text": "What does a bicycle ticket cost?"}]},
]


@pytest.fixture
async def client(filled: Api, settings: Settings) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        running(create_app(filled.platform, settings)) as address,
        openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made,
    ):
        yield made


async def test_a_chat_completion_is_an_answer_with_sources(client: openai.AsyncOpenAI, filled: Api) -> None:
    done = await client.chat.completions.create(model="ragstone/handbook", messages=QUESTION, max_tokens=50, user="u", top_p=0.9)
    assert done.choices[0].finish_reason == "stop"
    assert "four crowns" in str(done.choices[0].message.content)
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    extras: Any = done.model_extra
    assert extras["ragstone"]["citations"][0]["path"] == "fares.txt"
    logged = await filled.platform.interactions.get(extras["ragstone"]["interaction_id"])
    assert logged.question == "What does a bicycle ticket cost?"


async def test_a_streamed_completion_is_the_same_text(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="ragstone/handbook@#1", messages=QUESTION)
    stream = await client.chat.completions.create(
        model="ragstone/handbook@#1", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage
    extras: Any = chunks[-2].model_extra
    assert extras["ragstone"]["snapshot"]["position"] == 1


async def test_models_are_collections_and_the_embedding_model(client: openai.AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]
    assert listed == ["ragstone/handbook", "hashing"]
    assert (await client.models.retrieve("ragstone/handbook")).id == "ragstone/handbook"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("ragstone/nowhere")


async def test_embeddings_come_as_the_model_gives_them(client: openai.AsyncOpenAI, filled: Api) -> None:
    texts = ["bicycle ticket", "ferry"]
    expected = await filled.platform.embedder.embed_queries(texts)
    packed = await client.embeddings.create(model="hashing", input=texts)
    assert [one.embedding for one in packed.data] == [pytest.approx(row.tolist()) for row in expected]
    plain = await client.embeddings.create(model="ragstone/handbook", input=texts[0], encoding_format="float", dimensions=32)
    assert plain.data[0].embedding == pytest.approx(expected[0].tolist())
    raw = await filled.http.post("/v1/embeddings", json={"model": "hashing", "input": "a", "encoding_format": "base64"})
    assert len(struct.unpack("<32f", base64.b64decode(raw.json()["data"][0]["embedding"]))) == 32


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("chat/completions", {"model": "ragstone/nowhere", "messages": QUESTION}, 404),
        ("chat/completions", {"model": "gpt-9", "messages": QUESTION}, 404),
        ("chat/completions", {"model": "ragstone/handbook@nope", "messages": QUESTION}, 404),
        ("chat/completions", {"model": "ragstone/UPPER", "messages": QUESTION}, 422),
        ("chat/completions", {"model": "ragstone/handbook", "messages": []}, 422),
        ("chat/completions", {"model": "ragstone/handbook", "messages": QUESTION[:1]}, 422),
        ("chat/completions", {"model": "ragstone/handbook", "messages": QUESTION, "n": 2}, 422),
        ("chat/completions", {"messages": QUESTION}, 422),
        ("embeddings", {"model": "ragstone/nowhere", "input": "a"}, 404),
        ("embeddings", {"model": "other", "input": "a"}, 404),
        ("embeddings", {"model": "hashing", "input": ""}, 422),
        ("embeddings", {"model": "hashing", "input": []}, 422),
        ("embeddings", {"model": "hashing", "input": [1, 2]}, 422),
        ("embeddings", {"model": "hashing", "input": "a", "dimensions": 7}, 422),
        ("embeddings", {"model": "hashing", "input": "a" * 8001}, 413),
    ],
)
async def test_errors_have_openais_shape(filled: Api, path: str, body: dict[str, Any], status: int) -> None:
    answer = await filled.http.post(f"/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["message"]
    assert (error["type"], error["code"] is not None) == ("invalid_request_error", True)
    assert answer.headers["content-type"] == "application/json"


async def test_the_client_raises_its_own_errors_also_in_a_stream(settings: Settings) -> None:
    generator = ScriptedGenerator(["Four "], error=Unavailable("The generator went away."))
    async with (
        serve(fake_platform(generator=generator), settings) as api,
        running(create_app(api.platform, settings)) as address,
        openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        await api.ingest(GUIDE, FARES)
        with pytest.raises(openai.InternalServerError, match="went away"):
            await client.chat.completions.create(model="ragstone/handbook", messages=QUESTION)
        stream = await client.chat.completions.create(model="ragstone/handbook", messages=QUESTION, stream=True)
        with pytest.raises(openai.APIError, match="went away"):
            async for _ in stream:
                pass
