"""The OpenAI-compatible routes, through OpenAI's own client over a real socket."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.domain.errors import Unavailable
from ragstone.domain.retrieval import Vectors
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from ragstone.use_cases.limits import Limits
from tests.api.conftest import FARES, GUIDE, Api, serve
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.platform import fake_platform
from tests.support.server import running
from tests.support.tiny_encoder import make_encoder

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


async def test_the_embedding_model_is_described_and_collections_are_not(client: openai.AsyncOpenAI, filled: Api) -> None:
    model = filled.platform.embedder.identity
    identity = {**asdict(model), "space": model.space}
    described: dict[str, Any] = {model.id: model.model_extra async for model in client.models.list()}
    assert described == {"ragstone/handbook": {}, "hashing": {"ragstone": identity}}
    assert (await client.models.retrieve("hashing")).model_extra == {"ragstone": identity}
    assert len(bytes.fromhex(identity["digest"])) == 32


@asynccontextmanager
async def _tiny(folder: Path, settings: Settings) -> AsyncIterator[tuple[openai.AsyncOpenAI, OnnxEmbedder]]:
    """A server whose model reads 20 tokens and has prefixes of 2."""
    served = make_encoder(folder / "tiny", prompts={"query": "query : ", "passage": "passage : "})
    model = OnnxEmbedder(served, graphs=folder / "graphs")
    async with (
        serve(fake_platform(embedder=model), settings) as api,
        running(create_app(api.platform, settings)) as address,
        openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made,
    ):
        yield made, model


async def test_texts_are_passages_unless_they_are_said_to_be_questions(tmp_path: Path, settings: Settings) -> None:
    async with _tiny(tmp_path, settings) as (client, model):
        for kind, expected in ((None, model.embed_passages), ("passage", model.embed_passages), ("query", model.embed_queries)):
            for encoding in ("float", "base64"):
                extra = {"encoding_format": encoding} | ({"input_type": kind} if kind else {})
                given = await client.embeddings.create(model="tiny", input=["oil flows", "hot"], extra_body=extra)
                rows = [
                    np.frombuffer(base64.b64decode(one.embedding), "<f4") if isinstance(one.embedding, str) else one.embedding
                    for one in given.data
                ]
                np.testing.assert_allclose(rows, await expected(["oil flows", "hot"]), atol=1e-6)
                extras: Any = given.model_extra
                assert extras["ragstone"] == {"model": asdict(model.identity), "input_type": kind or "passage", "truncated": []}
        [passage, query] = (await model.embed_passages(["oil"]), await model.embed_queries(["oil"]))
        assert np.abs(passage - query).max() > 1e-3  # so that the one can't pass for the other


async def test_texts_that_are_cut_are_named(tmp_path: Path, settings: Settings) -> None:
    texts = ["oil", "oil " * 16, "oil " * 17, "hot " * 500]  # 16 fit, with 2 of the prefix and 2 special ones
    async with _tiny(tmp_path, settings) as (client, model):
        given = await client.embeddings.create(model="tiny", input=texts)
        extras: Any = given.model_extra
        assert extras["ragstone"]["truncated"] == [2, 3]
        assert (given.usage.prompt_tokens, given.usage.total_tokens) == (534, 534)
        np.testing.assert_allclose([one.embedding for one in given.data], await model.embed_passages(texts), atol=1e-6)


async def test_embedding_counts_as_a_question_at_the_gate(settings: Settings) -> None:
    class Slow(HashingEmbeddingModel):
        now = most = 0

        async def embed_passages(self, texts: Sequence[str]) -> Vectors:
            self.now, self.most = self.now + 1, max(self.most, self.now + 1)
            await asyncio.sleep(0.02)
            self.now -= 1
            return await super().embed_passages(texts)

    model = Slow(32)
    async with serve(fake_platform(embedder=model, limits=Limits(concurrent_queries=2)), settings) as api:
        body = {"model": "hashing", "input": "a"}
        answers = await asyncio.gather(*(api.http.post("/v1/embeddings", json=body) for _ in range(6)))
    assert model.most == 2
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 2
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert (refused.json()["error"]["type"], "retry-after" in refused.headers) == ("rate_limit_error", True)


async def test_questions_to_embed_are_as_long_as_questions_and_passages_as_long_as_chunks(settings: Settings) -> None:
    async with serve(fake_platform(limits=Limits(question_characters=100)), settings) as api:
        for kind, characters, status in (("query", 100, 200), ("query", 101, 413), ("passage", 8000, 200), ("passage", 8001, 413)):
            body = {"model": "hashing", "input": ["a" * characters], "input_type": kind}
            assert (await api.http.post("/v1/embeddings", json=body)).status_code == status, (kind, characters)


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
        ("embeddings", {"model": "hashing", "input": [[1, 2]]}, 422),
        ("embeddings", {"model": "hashing", "input": ["a", ""]}, 422),
        ("embeddings", {"model": "hashing", "input": ["a"] * 10_000}, 413),
        ("embeddings", {"model": "hashing", "input": "a", "input_type": "document"}, 422),
        ("embeddings", {"model": "hashing", "input": "a", "encoding_format": "int8"}, 422),
        ("embeddings", {"model": "hashing", "input": None}, 422),
        ("embeddings", {"input": "a"}, 422),
        ("embeddings", {"model": "hashing", "input": "a", "dimensions": 7}, 422),
        ("embeddings", {"model": "hashing", "input": "a" * 8001}, 413),
        ("embeddings", {"model": "hashing", "input": "a", "space": "0123456789abcdef"}, 409),
    ],
)
async def test_errors_have_openais_shape(filled: Api, path: str, body: dict[str, Any], status: int) -> None:
    answer = await filled.http.post(f"/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["message"]
    assert (error["type"], error["code"] is not None) == ("invalid_request_error", True)
    assert answer.headers["content-type"] == "application/json"


async def test_the_own_embedding_space_is_told_and_taken(filled: Api) -> None:
    space = (await filled.http.get("/v1/models/hashing")).json()["ragstone"]["space"]
    assert space == filled.platform.embedder.identity.space
    answer = await filled.http.post("/v1/embeddings", json={"model": "hashing", "input": "a", "space": space})
    assert answer.status_code == 200


@pytest.mark.parametrize("tokens", [[1, 2], [[1], [2]]])
async def test_token_ids_are_refused_with_a_sentence(client: openai.AsyncOpenAI, tokens: Any) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="input: token ids are not taken; send the texts themselves") as raised:
        await client.embeddings.create(model="hashing", input=tokens)
    assert raised.value.param == "input"


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
