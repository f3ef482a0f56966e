"""`/v1/embeddings` and `/v1/models` of the embedding service: what they answer, what they refuse, and which model they name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.served_models import ServedEmbedder
from ragstone.domain.errors import InternalError, Unavailable
from tests.support.counting_encoder import PATIENCE, CountingEncoder
from tests.support.server import running
from tests.unit.services.embedding.conftest import Serve, Service, batching

TEXTS = ["the red pump stops", "oil flows", "a valve"]


async def post(service: Service, **body: Any) -> httpx.Response:
    return await service.http.post("/v1/embeddings", json={"model": "tiny", "input": TEXTS, **body})


async def test_openais_client_gets_the_vectors_of_the_model_in_this_process(service: Service, tiny: Callable[[int], OnnxEmbedder]) -> None:
    model = service.serving.embedder.now.embedder
    async with running(service.app) as address, openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        passages = await client.embeddings.create(model="tiny", input=TEXTS)
        questions = await client.embeddings.create(model="tiny", input=TEXTS, encoding_format="float", extra_body={"input_type": "query"})
        listed, one = await client.models.list(), await client.models.retrieve("tiny")
    np.testing.assert_allclose([row.embedding for row in passages.data], await model.embed_passages(TEXTS), atol=1e-6)
    np.testing.assert_allclose([row.embedding for row in questions.data], await model.embed_queries(TEXTS), atol=1e-6)
    assert passages.usage.prompt_tokens == sum(model.count_tokens(TEXTS))
    assert [each.id for each in listed.data] == ["tiny", "cross"]
    assert one.id == "tiny"


async def test_every_answer_names_model_version_digest_and_space(service: Service) -> None:
    identity = service.serving.embedder.now.embedder.identity
    for answer in (await post(service), await service.http.get("/v1/models"), await service.http.get("/v1/models/tiny")):
        assert answer.status_code == 200
        assert answer.headers["x-ragstone-model"] == "tiny"
        assert answer.headers["x-ragstone-model-version"] == "1"
        assert answer.headers["x-ragstone-model-digest"] == identity.digest
        assert answer.headers["x-ragstone-space"] == identity.space
    told = (await post(service)).json()["ragstone"]
    assert (told["model"]["digest"], told["version"], told["space"]) == (identity.digest, "1", identity.space)
    listed = (await service.http.get("/v1/models/tiny")).json()["ragstone"]
    assert (listed["digest"], listed["version"], listed["space"]) == (identity.digest, "1", identity.space)


async def test_a_caller_of_another_space_is_refused_and_told_both(service: Service) -> None:
    own = service.serving.embedder.now.embedder.identity.space
    assert (await post(service, space=own)).status_code == 200
    answer = await post(service, space="0123456789abcdef")
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("conflict", "space")
    assert "0123456789abcdef" in error["message"]
    assert own in error["message"]


async def test_texts_beyond_the_window_are_told_and_counted(service: Service) -> None:
    answer = await post(
        service, input=["oil", "oil " * 100, "valve", "oil " * 16]
    )  # the prefix takes two of twenty tokens, the special ones two
    assert answer.json()["ragstone"]["truncated"] == [1]
    exposed = (await service.http.get("/metrics")).text
    assert "ragstone_embedding_truncated_texts_total 1.0" in exposed
    assert 'ragstone_embedding_texts_total{input_type="passage"} 4.0' in exposed
    assert "ragstone_embedding_batch_texts_count 1.0" in exposed
    assert 'ragstone_served_model_info{digest="' in exposed


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "other"}, 404, "model"),
        ({"model": "cross"}, 404, "model"),
        ({"input": []}, 422, "input"),
        ({"input": ""}, 422, "input"),
        ({"input": ["a", ""]}, 422, "input"),
        ({"input": [1, 2]}, 422, "input"),
        ({"input": ["a"] * 2049}, 413, "input"),
        ({"input": ["a"] * 10_000}, 413, "input"),
        ({"input": "a" * 8001}, 413, "input"),
        ({"input": "a" * 2**21}, 413, "body"),
        ({"input_type": "document"}, 422, "input_type"),
        ({"dimensions": 7}, 422, "dimensions"),
        ({"space": 5}, 422, "space"),
    ],
)
async def test_what_is_refused_names_the_field(service: Service, body: dict[str, Any], status: int, param: str) -> None:
    answer = await post(service, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


@pytest.mark.parametrize(
    ("error", "status"), [(InternalError("a vector that is zero or not finite"), 500), (Unavailable("ran out of memory"), 503)]
)
async def test_a_model_that_fails_gives_an_error_and_the_service_says_until_when(serve: Serve, error: Exception, status: int) -> None:
    encoder = CountingEncoder()
    encoder.encode = lambda texts: [[1] for _ in texts]  # type: ignore[method-assign]  # whatever the texts are

    def fail(_: object) -> None:
        raise error

    async with serve(encoder) as service:
        encoder.spoil = fail
        answer = await post(service, model="counting")
        assert (answer.status_code, "data" in answer.json()) == (status, False)
        ready = await service.http.get("/readyz")
        assert (ready.status_code, ready.json()["field"]) == (503, "embedding")
        encoder.spoil = lambda _: None
        assert (await service.http.get("/readyz")).status_code == 200
        assert (await post(service, model="counting")).status_code == 200


async def test_beyond_its_queue_it_answers_429_with_a_time(serve: Serve) -> None:
    encoder = CountingEncoder()
    async with serve(encoder, queue_texts=2) as service:
        encoder.hold()
        first = asyncio.ensure_future(post(service, model="counting", input=["1", "2"]))
        assert await asyncio.to_thread(encoder.began.acquire, timeout=PATIENCE)
        refused = await post(service, model="counting", input=["3"])
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) >= 1
        encoder.go()
        assert (await first).status_code == 200
        assert (await post(service, model="counting", input=["3"])).status_code == 200


async def test_beyond_its_requests_it_answers_429_before_the_body_is_read(serve: Serve) -> None:
    encoder = CountingEncoder()
    async with serve(encoder, concurrent_requests=1) as service:
        encoder.hold()
        first = asyncio.ensure_future(post(service, model="counting", input=["1"]))
        assert await asyncio.to_thread(encoder.began.acquire, timeout=PATIENCE)
        refused = await post(service, model="nonsense")
        assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
        encoder.go()
        assert (await first).status_code == 200


async def test_a_request_has_a_time_budget(serve: Serve) -> None:
    encoder = CountingEncoder()
    async with serve(encoder, limits={"request_seconds": 0.2}) as service:
        encoder.hold()
        answer = await post(service, model="counting", input=["1"])
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        encoder.go()


async def test_a_client_that_hangs_up_frees_its_place(serve: Serve) -> None:
    encoder = CountingEncoder()
    async with serve(encoder, concurrent_requests=1) as service, running(service.app) as address:
        encoder.hold()
        async with httpx.AsyncClient(base_url=address) as client:
            gone = asyncio.ensure_future(client.post("/v1/embeddings", json={"model": "counting", "input": ["1", "2"]}))
            assert await asyncio.to_thread(encoder.began.acquire, timeout=PATIENCE)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
        async with asyncio.timeout(PATIENCE):  # it is noticed after a second
            while service.serving.embedder.now.embedder.inside:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        encoder.go()
        assert (await post(service, model="counting", input=["1"])).status_code == 200


async def test_a_model_is_replaced_while_requests_run_and_each_names_the_one_that_made_its_vectors(
    service: Service, tiny: Callable[[int], OnnxEmbedder]
) -> None:
    slot, settings = service.serving.embedder, service.serving.settings
    expected = {"1": (await slot.now.embedder.embed_passages(TEXTS)).tolist()}
    versions: set[str] = set()
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            answer = await post(service, encoding_format="float")
            assert answer.status_code == 200
            version = answer.headers["x-ragstone-model-version"]
            assert answer.json()["ragstone"]["version"] == version
            np.testing.assert_allclose([row["embedding"] for row in answer.json()["data"]], expected[version], atol=1e-6)
            versions.add(version)

    clients = [asyncio.ensure_future(ask()) for _ in range(4)]
    for number in range(2, 6):
        embedder = batching(await asyncio.to_thread(tiny, number), settings)
        expected[str(number)] = (await embedder.embed_passages(TEXTS)).tolist()
        await slot.swap(ServedEmbedder(embedder, str(number), "here"))
        async with asyncio.timeout(PATIENCE):
            while str(number) not in versions and not any(client.done() for client in clients):  # noqa: ASYNC110 - clients tell nobody
                await asyncio.sleep(0.001)
    done.set()
    await asyncio.gather(*clients)
    assert {"2", "3", "4", "5"} <= versions
    assert not np.allclose(expected["1"], expected["2"], atol=1e-3)
