"""`/rerank` of the embedding service, in each dialect."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.unit.services.embedding.conftest import Serve, Service

QUESTION, TEXTS = "the red pump stops", ["oil flows", "the red pump stops", "a valve"]


async def test_each_dialect_gets_the_models_scores_the_best_first(service: Service) -> None:
    assert service.serving.reranker is not None
    logits = await service.serving.reranker.now.reranker.score(QUESTION, TEXTS)
    best = sorted(range(3), key=lambda index: -logits[index])
    tei = await service.http.post("/rerank", json={"query": QUESTION, "texts": TEXTS, "raw_scores": True, "return_text": True})
    assert [(row["index"], row["text"]) for row in tei.json()] == [(index, TEXTS[index]) for index in best]
    assert [row["score"] for row in tei.json()] == pytest.approx([logits[index] for index in best], abs=1e-5)
    cohere = await service.http.post("/v2/rerank", json={"model": "cross", "query": QUESTION, "documents": TEXTS, "top_n": 2})
    assert [row["index"] for row in cohere.json()["results"]] == best[:2]
    jina = await service.http.post(
        "/v1/rerank", json={"model": "cross", "query": QUESTION, "documents": TEXTS, "top_n": 3, "return_documents": False}
    )
    assert jina.json()["model"] == "cross"
    assert [row["relevance_score"] for row in jina.json()["results"]] == pytest.approx(
        [1 / (1 + math.exp(-logits[index])) for index in best]
    )
    for answer in (tei, cohere, jina):
        assert (answer.headers["x-ragstone-model"], answer.headers["x-ragstone-model-version"]) == ("cross", "7")
        assert len(answer.headers["x-ragstone-model-digest"]) == 64


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"query": QUESTION, "texts": []}, 422, "texts"),
        ({"query": QUESTION}, 422, "documents"),
        ({"query": QUESTION, "texts": TEXTS, "documents": TEXTS}, 422, "texts"),
        ({"query": QUESTION, "texts": ["a"] * 1001}, 413, "texts"),
        ({"query": QUESTION, "documents": ["a"] * 10_000}, 413, "documents"),
        ({"query": QUESTION, "texts": ["a" * (2**16 + 1)]}, 413, "texts"),
        ({"query": "", "texts": TEXTS}, 422, "query"),
        ({"query": "a" * (2**16 + 1), "texts": TEXTS}, 422, "query"),
        ({"query": QUESTION, "texts": TEXTS, "model": "tiny"}, 404, "model"),
        ({"query": QUESTION, "documents": TEXTS, "top_n": 0}, 422, "top_n"),
        ({"texts": TEXTS}, 422, "query"),
    ],
)
async def test_what_is_refused_names_the_field(service: Service, body: dict[str, Any], status: int, field: str) -> None:
    answer = await service.http.post("/rerank", json=body)
    assert (answer.status_code, answer.json()["field"]) == (status, field)


async def test_without_a_reranker_there_is_none(serve: Serve) -> None:
    async with serve(reranker=False) as service:
        answer = await service.http.post("/rerank", json={"query": QUESTION, "texts": TEXTS})
        assert (answer.status_code, answer.json()["field"]) == (404, "model")
        assert [each["id"] for each in (await service.http.get("/v1/models")).json()["data"]] == ["tiny"]
