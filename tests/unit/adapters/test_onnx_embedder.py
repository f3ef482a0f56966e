"""The embedder's own promises: prefixes, windows, pooling, threads, and clear refusals."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ragstone.adapters.onnx_batches import BATCH_TOKENS
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.domain.errors import InternalError, InvalidInput, Unavailable
from tests.support.tiny_encoder import CONFIG, forward, make_encoder, random_weights, write_json

# ids of the tiny vocabulary: the=4 a=5 red=6 pump=9 oil=13
RED_PUMP = [2, 6, 9, 3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_encoder(tmp_path / "tiny")


def load(folder: Path, threads: int | None = None) -> OnnxEmbedder:
    return OnnxEmbedder(folder, graphs=folder.parent / "graphs", threads=threads)


def unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))


async def test_mean_pooling_is_over_real_tokens_only(folder: Path) -> None:
    vectors = await load(folder).embed_passages(["red pump", "oil " * 15])
    np.testing.assert_allclose(vectors[0], unit(forward(folder / "model.safetensors", RED_PUMP, heads=2).mean(axis=0)), atol=2e-6)


async def test_cls_pooling_takes_the_first_token(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "tiny", pooling="cls")
    vectors = await load(folder).embed_passages(["red pump", "oil " * 15])
    np.testing.assert_allclose(vectors[0], unit(forward(folder / "model.safetensors", RED_PUMP, heads=2)[0]), atol=2e-6)


async def test_prefixes_are_part_of_what_is_embedded(folder: Path) -> None:
    bare = load(folder)
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": "passage: "}})
    prefixed = load(folder)
    np.testing.assert_array_equal(await prefixed.embed_queries(["red pump"]), await bare.embed_queries(["query: red pump"]))
    np.testing.assert_array_equal(await prefixed.embed_queries(["oil"] * 9), await bare.embed_queries(["query: oil"] * 9))
    np.testing.assert_array_equal(await prefixed.embed_passages(["red pump"]), await bare.embed_passages(["passage: red pump"]))
    assert prefixed.identity.query_prefix == "query: "
    assert prefixed.identity != bare.identity
    assert prefixed.count_tokens(["red pump"]) == [2]


async def test_truncation_baked_into_the_tokenizer_is_ignored(folder: Path) -> None:
    [far, near] = await load(folder).embed_passages(["the " * 17 + "oil", "the " * 17 + "pump"])  # 20 tokens with the two special ones
    assert np.abs(far - near).max() > 1e-4


async def test_the_window_never_exceeds_the_positions(tmp_path: Path) -> None:
    model = load(make_encoder(tmp_path / "tiny", window=512))
    assert model.identity.window == CONFIG["max_position_embeddings"]
    assert np.isfinite(await model.embed_passages(["oil " * 600])).all()


async def test_text_is_lower_cased_where_the_settings_ask_for_it(folder: Path) -> None:
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(tokenizer.replace('"lowercase": true', '"lowercase": false'))
    [kept] = await load(folder).embed_passages(["Red Pump"])
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True})
    [lowered] = await load(folder).embed_passages(["Red Pump"])
    assert np.abs(kept - lowered).max() > 1e-4
    np.testing.assert_allclose(lowered, unit(forward(folder / "model.safetensors", RED_PUMP, heads=2).mean(axis=0)), atol=2e-6)


def test_batches_are_bounded_sorted_and_complete(folder: Path) -> None:
    texts = ["oil " * (number % 18) for number in range(500)]
    batches = load(folder).batches(texts)
    assert sorted(np.concatenate([batch.rows for batch in batches]).tolist()) == list(range(500))
    assert all(batch.ids.size <= BATCH_TOKENS and len(batch.rows) <= 64 for batch in batches)
    lengths = [batch.ids.shape[1] for batch in batches]
    assert lengths == sorted(lengths, reverse=True)
    assert sum(batch.mask.sum() for batch in batches) >= 0.9 * sum(batch.ids.size for batch in batches)  # little padding


class HeldSession:
    """Stands in for the session: passages wait until released, one-row batches (questions) go through."""

    pools, dimension = True, 16

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()

    def run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if len(ids) > 1:
            self.entered.set()
            assert self.release.wait(10)
        return np.ones((len(ids), 16), np.float32)


async def test_neither_the_event_loop_nor_a_question_waits_for_an_ingest(folder: Path) -> None:
    model, held = load(folder, threads=1), HeldSession()
    model.session = held  # type: ignore[assignment]
    ingest = asyncio.create_task(model.embed_passages(["oil"] * 200))
    await asyncio.to_thread(held.entered.wait, 10)
    assert (await asyncio.wait_for(model.embed_queries(["red pump"]), 60)).shape == (1, 16)
    assert not ingest.done()
    held.release.set()
    assert (await ingest).shape == (200, 16)


async def test_a_cancelled_call_leaves_the_model_usable(folder: Path) -> None:
    model, held = load(folder, threads=1), HeldSession()
    real, model.session = model.session, held  # type: ignore[assignment]
    ingest = asyncio.create_task(model.embed_passages(["oil"] * 2000))
    await asyncio.to_thread(held.entered.wait, 10)
    ingest.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ingest
    held.release.set()
    model.session = real
    assert (await model.embed_passages(["oil"])).shape == (1, 16)


async def test_a_closed_model_is_unavailable(folder: Path) -> None:
    model = load(folder)
    model.close()
    for call in (model.embed_passages, model.embed_queries):
        with pytest.raises(Unavailable, match="was closed"):
            await call(["oil"])


async def test_half_a_surrogate_pair_is_refused(folder: Path) -> None:
    model = load(folder)
    for call in (model.embed_passages, model.embed_queries):
        with pytest.raises(InvalidInput, match="not valid Unicode"):
            await call(["oil", "\ud800"])
    with pytest.raises(InvalidInput, match="not valid Unicode"):
        model.count_tokens(["\ud800"])
    assert (await model.embed_passages(["oil"])).shape == (1, 16)


async def test_weights_that_give_no_number_are_caught(folder: Path) -> None:
    weights = random_weights()
    weights["embeddings.word_embeddings.weight"][13] = np.nan
    save_file(weights, folder / "model.safetensors")
    model = load(folder)
    with pytest.raises(InternalError, match="zero or not finite"):
        await model.embed_passages(["red pump", "the oil"])


async def test_a_token_without_an_embedding_is_an_error_of_ours(folder: Path) -> None:
    weights = random_weights()
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:10]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InternalError, match="failed on 1 texts of 3 tokens"):
        await load(folder).embed_passages(["oil"])


@pytest.mark.parametrize("content", [b"{}", b"\xff", b"[1"])
def test_a_broken_tokenizer_is_refused(folder: Path, content: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"tokenizer\.json cannot be read"):
        load(folder)


def test_a_window_without_room_for_special_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="A window of 1 tokens is too small"):
        load(make_encoder(tmp_path / "tiny", window=1))
