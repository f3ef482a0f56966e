"""The contract of `EmbeddingModel`, over every adapter and the fake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ragstone.adapters.embedding_cache import EmbeddingCache
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.domain.retrieval import Vectors
from ragstone.ports.embedding_model import EmbeddingModel
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support.tiny_encoder import make_encoder

Make = Callable[[Path], EmbeddingModel]
Embed = Callable[[EmbeddingModel], Awaitable[Vectors]]

PROMPTS = {"query": "query: ", "passage": "passage: "}
ADAPTERS: dict[str, Make] = {
    "onnx-mean": lambda folder: OnnxEmbedder(make_encoder(folder / "tiny"), graphs=folder / "graphs"),
    "onnx-cls": lambda folder: OnnxEmbedder(
        make_encoder(folder / "tiny", pooling="cls", prompts=PROMPTS), graphs=folder / "graphs", threads=3
    ),
    "fake": lambda _: HashingEmbeddingModel(window=20),
    "cache": lambda _: EmbeddingCache(HashingEmbeddingModel(window=20), max_bytes=2000),
}
TEXTS = ["the red pump stops", "oil flows", "the hot water flows , the cold water stops .", "a valve", "the red pump stops", "engine"]


@pytest.fixture(params=list(ADAPTERS))
def model(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddingModel:
    return ADAPTERS[request.param](tmp_path)


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


def test_the_identity_names_the_model(model: EmbeddingModel) -> None:
    identity = model.identity
    assert identity.name
    assert identity.revision
    assert len(bytes.fromhex(identity.digest)) == 32
    assert identity.window == 20
    assert identity == model.identity
