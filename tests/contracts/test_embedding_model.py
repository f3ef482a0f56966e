"""The contract of `EmbeddingModel`, over every adapter and the fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from ragstone.adapters.batching_embedder import BatchingEmbedder
from ragstone.adapters.embedding_cache import EmbeddingCache
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.bootstrap.remote_embedder import remote_embedder
from ragstone.domain.retrieval import Vectors
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.embedders import OpenAIEmbedder, RagstoneEmbedder
from ragstone.settings.model import Settings
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.platform import fake_platform
from tests.servers.embedding_service import Service
from tests.support.chat_server import chat_server
from tests.support.embedding_server import serving
from tests.support.server import running
from tests.support.tiny_encoder import make_encoder

Make = Callable[[Path], AbstractAsyncContextManager[EmbeddingModel]]
Embed = Callable[[EmbeddingModel], Awaitable[Vectors]]

PROMPTS = {"query": "query: ", "passage": "passage: "}


def _plain(make: Callable[[Path], EmbeddingModel]) -> Make:
    @asynccontextmanager
    async def made(folder: Path) -> AsyncIterator[EmbeddingModel]:
        yield make(folder)

    return made


@asynccontextmanager
async def _batching(folder: Path) -> AsyncIterator[EmbeddingModel]:
    encoder = OnnxEmbedder(make_encoder(folder / "tiny", prompts=PROMPTS), graphs=folder / "graphs")
    embedder = BatchingEmbedder(encoder, threads=2, batch_tokens=40, batch_texts=6)
    yield embedder
    await asyncio.to_thread(embedder.close)


@asynccontextmanager
async def _over_ragstone(folder: Path) -> AsyncIterator[EmbeddingModel]:
    """On the API of a ragstone that embeds in its own process."""
    served = make_encoder(folder / "tiny", pooling="cls", prompts=PROMPTS)
    app = create_app(fake_platform(embedder=OnnxEmbedder(served, graphs=folder / "graphs")), Settings(data_dir=folder / "data"))
    async with running(app) as address:
        settings = RagstoneEmbedder(
            kind="ragstone", base_url=f"{address}/v1", model="tiny", tokenizer=str(served), batch_texts=4, batch_tokens=64
        )
        embedder = await asyncio.to_thread(remote_embedder, settings, served, folder / "locks")
        yield embedder
        await embedder.close()


@asynccontextmanager
async def _over_another(folder: Path, encoding: Literal["base64", "float"]) -> AsyncIterator[EmbeddingModel]:
    """On a server that knows no prefixes, normalises nothing and refuses what is too long."""
    served = make_encoder(folder / "tiny")
    async with chat_server(serving(OnnxEmbedder(served, graphs=folder / "graphs"))) as server:
        settings = OpenAIEmbedder(
            kind="openai",
            base_url=server.base_url,
            model="tiny",
            revision="1",
            tokenizer=str(served),
            query_prefix="query: ",
            passage_prefix="passage: ",
            batch_texts=5,
            encoding=encoding,
        )
        embedder = await asyncio.to_thread(remote_embedder, settings, served, folder / "locks")
        yield embedder
        await embedder.close()


@asynccontextmanager
async def _over_bento(service: Service, folder: Path) -> AsyncIterator[EmbeddingModel]:
    """On the embedding service, a process of its own."""
    tokenizer = service.directory / "tiny"
    settings = RagstoneEmbedder(
        kind="ragstone", base_url=f"{service.url}/v1", model="tiny", tokenizer=str(tokenizer), batch_texts=4, batch_tokens=64
    )
    embedder = await asyncio.to_thread(remote_embedder, settings, tokenizer, folder / "locks")
    yield embedder
    await embedder.close()


BENTO = pytest.param("bento", marks=[pytest.mark.packaged, pytest.mark.xdist_group("bento")])
ADAPTERS: dict[str, Make] = {
    "onnx-mean": _plain(lambda folder: OnnxEmbedder(make_encoder(folder / "tiny"), graphs=folder / "graphs")),
    "onnx-cls": _plain(
        lambda folder: OnnxEmbedder(make_encoder(folder / "tiny", pooling="cls", prompts=PROMPTS), graphs=folder / "graphs", threads=3)
    ),
    "batching": _batching,
    "ragstone": _over_ragstone,
    "openai-base64": lambda folder: _over_another(folder, "base64"),
    "openai-float": lambda folder: _over_another(folder, "float"),
    "fake": _plain(lambda _: HashingEmbeddingModel(window=20)),
    "cache": _plain(lambda _: EmbeddingCache(HashingEmbeddingModel(window=20), max_bytes=2000)),
}
TEXTS = ["the red pump stops", "oil flows", "the hot water flows , the cold water stops .", "a valve", "the red pump stops", "engine"]


@pytest.fixture(params=[*ADAPTERS, BENTO])
async def model(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EmbeddingModel]:
    if request.param == "bento":
        async with _over_bento(request.getfixturevalue("embedding_service"), tmp_path) as made:
            yield made
        return
    async with ADAPTERS[request.param](tmp_path) as made:
        yield made


async def passages_of(model: EmbeddingModel) -> Vectors:
    return await model.embed_passages(TEXTS)


async def queries_of(model: EmbeddingModel) -> Vectors:
    return await model.embed_queries(TEXTS)


@pytest.mark.parametrize("embed", [passages_of, queries_of])
async def test_rows_are_finite_unit_float32_vectors_in_the_order_of_the_texts(model: EmbeddingModel, embed: Embed) -> None:
    vectors = await embed(model)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), model.identity.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[4], atol=1e-5)
    same = vectors @ vectors.T > 1 - 1e-5
    assert same.sum() == len(TEXTS) + 2  # each is like itself, and only the repeated text like another


async def test_no_texts_give_no_rows(model: EmbeddingModel) -> None:
    assert (await model.embed_passages([])).shape == (0, model.identity.dimension)
    assert (await model.embed_queries([])).shape == (0, model.identity.dimension)
    assert model.count_tokens([]) == []


async def test_a_vector_does_not_depend_on_the_other_texts(model: EmbeddingModel) -> None:
    many = [" ".join(["oil"] * (1 + number % 15)) for number in range(150)]
    together = await model.embed_passages([*many, *TEXTS])
    for text, vector in zip(TEXTS, together[150:], strict=True):
        [alone] = await model.embed_passages([text])
        np.testing.assert_allclose(alone, vector, atol=1e-5)
        [[alone], [*_, last]] = await model.embed_queries([text]), await model.embed_queries([*many, text])
        np.testing.assert_allclose(alone, last, atol=1e-5)


async def test_a_text_beyond_the_window_is_cut(model: EmbeddingModel) -> None:
    window = model.identity.window
    [one, other, short] = await model.embed_passages(["oil " * window + "engine", "oil " * window + "water", "oil engine"])
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(one - short).max() > 1e-4


async def test_an_empty_text_has_a_vector(model: EmbeddingModel) -> None:
    [vector] = await model.embed_passages([""])
    assert np.isfinite(vector).all()


def test_tokens_are_counted_without_special_ones_and_uncut(model: EmbeddingModel) -> None:
    window = model.identity.window
    assert model.count_tokens(["", "oil", "oil flows .", "oil " * (5 * window)]) == [0, 1, 3, 5 * window]


def test_counting_is_thread_safe(model: EmbeddingModel) -> None:
    expected = model.count_tokens(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        assert all(counts == expected for counts in pool.map(lambda _: model.count_tokens(TEXTS), range(50)))


async def test_calls_at_once_do_not_mix(model: EmbeddingModel) -> None:
    alone = {text: (await model.embed_passages([text]))[0] for text in TEXTS}
    results = await asyncio.gather(*(model.embed_passages(TEXTS[number:]) for number in range(len(TEXTS)) for _ in range(4)))
    for number, vectors in enumerate(results):
        for text, vector in zip(TEXTS[number // 4 :], vectors, strict=True):
            np.testing.assert_allclose(vector, alone[text], atol=1e-5)


async def test_a_text_fills_the_window_with_its_special_tokens(model: EmbeddingModel) -> None:
    room = model.identity.window - model.special_tokens - model.count_tokens([model.identity.passage_prefix])[0]
    [one, other, cut] = await model.embed_passages(["oil " * (room - 1) + "engine", "oil " * room, "oil " * room + "engine"])
    assert np.abs(one - other).max() > 1e-4
    np.testing.assert_allclose(other, cut, atol=1e-5)


async def test_a_check_passes_while_it_is_there(model: EmbeddingModel) -> None:
    await model.check()


def test_the_identity_names_the_model(model: EmbeddingModel) -> None:
    identity = model.identity
    assert identity.name
    assert identity.revision
    assert len(bytes.fromhex(identity.digest)) == 32
    assert identity.window == 20
    assert identity == model.identity
