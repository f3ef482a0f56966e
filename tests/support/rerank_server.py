"""A small server on loopback that speaks the `/rerank` dialects of TEI, Cohere (v2) and Jina around a reranker, as strict as they are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ragstone.ports.reranker import Reranker
from tests.support.chat_server import Call, ChatServer, chat_server

TEI_BATCH = 32  # texts, its default
FIELDS: dict[str, set[str]] = {
    "/rerank": {"query", "texts", "raw_scores", "truncate", "return_text"},
    "/v2/rerank": {"model", "query", "documents", "top_n"},
    "/v1/rerank": {"model", "query", "documents", "top_n", "return_documents"},
}
DIALECTS = {"tei": "", "cohere": "/v2", "jina": "/v1"}  # where each lies below the server's address


@asynccontextmanager
async def rerank_server(reranker: Reranker) -> AsyncIterator[ChatServer]:
    """Runs one on a free port; `base_url` of it ends before the dialect's own part."""

    async def reply(call: Call) -> None:
        if call.path == "/health":
            await send(call, {})
        elif call.path not in FIELDS:
            await send(call, {"detail": "Not Found"}, 404)
        elif set(call.body) != FIELDS[call.path] or not (texts := call.body.get("texts", call.body.get("documents"))):
            await send(call, {"error": "unknown, missing or empty field", "error_type": "validation"}, 422)
        elif call.path == "/rerank" and len(texts) > TEI_BATCH:
            await send(
                call, {"error": f"batch size {len(texts)} > maximum allowed batch size {TEI_BATCH}", "error_type": "Validation"}, 413
            )
        else:
            scores = await reranker.score(call.body["query"], texts)
            await send(call, answer(call, scores))

    async with chat_server(reply) as server:
        server.base_url = server.base_url.removesuffix("/v1")
        yield server


def answer(call: Call, scores: list[float]) -> Any:
    """The dialect's form, the best text first, as all of them do."""
    best = sorted(enumerate(scores), key=lambda pair: -pair[1])
    if call.path == "/rerank":
        return [{"index": index, "score": score} for index, score in best]
    results = [{"index": index, "relevance_score": score} for index, score in best][: call.body["top_n"]]
    if call.path == "/v2/rerank":
        return {"id": "07734bd2", "results": results, "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}}
    return {"model": call.body["model"], "usage": {"total_tokens": 15}, "results": results}


async def send(call: Call, form: Any, status: int = 200, **headers: str) -> None:
    """A JSON response."""
    await call.start(status, "application/json", **headers)
    await call.raw(json.dumps(form).encode())
