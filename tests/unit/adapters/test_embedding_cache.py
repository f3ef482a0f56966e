"""The cache of vectors on the read path."""

from __future__ import annotations

import numpy as np

from ragstone.adapters.embedding_cache import EmbeddingCache
from tests.fakes.embedding_model import HashingEmbeddingModel


async def test_a_text_is_embedded_once() -> None:
    model = HashingEmbeddingModel()
    cache = EmbeddingCache(model)
    first = await cache.embed_passages(["a b", "c", "a b"])
    assert model.last_passages == ("a b", "c")
    again = await cache.embed_passages(["c", "a b"])
    assert model.calls == 1
    np.testing.assert_array_equal(again, first[[1, 0]])


async def test_only_what_is_missing_is_embedded() -> None:
    model = HashingEmbeddingModel()
    cache = EmbeddingCache(model)
    await cache.embed_passages(["a"])
    await cache.embed_passages(["a", "b"])
    assert model.last_passages == ("b",)


async def test_questions_and_passages_are_kept_apart() -> None:
    model = HashingEmbeddingModel()
    cache = EmbeddingCache(model)
    await cache.embed_passages(["a"])
    await cache.embed_queries(["a"])
    await cache.embed_queries(["a"])
    assert (model.embedded_texts, model.queries) == (1, 1)


async def test_it_forgets_the_least_recently_used_and_stays_within_its_bytes() -> None:
    model = HashingEmbeddingModel(dimension=64)
    cache = EmbeddingCache(model, max_bytes=2 * (64 * 4 + 300))
    await cache.embed_passages(["a"])
    await cache.embed_passages(["b"])
    await cache.embed_passages(["a"])
    await cache.embed_passages(["c"])  # b goes
    await cache.embed_passages(["a", "c"])
    assert model.embedded_texts == 3
    await cache.embed_passages(["b"])
    assert model.embedded_texts == 4


async def test_more_texts_at_once_than_it_holds_are_still_right() -> None:
    model = HashingEmbeddingModel()
    cache = EmbeddingCache(model, max_bytes=600)
    texts = [f"word{n}" for n in range(20)]
    np.testing.assert_array_equal(await cache.embed_passages(texts), await model.embed_passages(texts))


async def test_callers_cannot_change_what_is_remembered() -> None:
    cache = EmbeddingCache(HashingEmbeddingModel())
    vectors = await cache.embed_passages(["a"])
    kept = vectors.copy()
    vectors[:] = 0
    np.testing.assert_array_equal(await cache.embed_passages(["a"]), kept)
