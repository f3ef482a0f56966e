"""`/rerank` in the dialects of Text Embeddings Inference (`texts`), Cohere and Jina (`documents`)."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.routing import Route

from ragstone.domain.access import Scope
from ragstone.domain.errors import InvalidInput, TooLarge
from ragstone.services.embedding.serving import Serving, reranker_headers
from ragstone.services.orchestrator.access import in_general, needs_where_asked
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import json_response, while_connected
from ragstone.services.orchestrator.schemas.openai import OpenAIBody

_TEXTS = 1_000  # of one request
_CHARACTERS = 2**16  # of the question or one text: more than any of these models reads
_BYTES = 2**23  # of a body


class RerankBody(OpenAIBody):
    """A question with its texts: `texts` and `raw_scores` are TEI's, `documents` and `top_n` Cohere's and Jina's."""

    query: str
    model: str | None = Field(default=None, max_length=2000)
    texts: list[str] | None = None
    documents: list[str] | None = None
    raw_scores: bool = False
    return_text: bool = False
    return_documents: bool = False
    top_n: int | None = Field(default=None, ge=1)

    def told(self) -> list[str]:
        """The texts. Raises `InvalidInput`, `TooLarge`."""
        field = "documents" if self.texts is None else "texts"
        found = self.documents if self.texts is None else self.texts
        if not found or (self.texts is not None and self.documents is not None):
            raise InvalidInput(f"{field}: give at least one text, in texts or in documents.", field=field)
        if len(found) > _TEXTS:
            raise TooLarge(f"{field}: at most {_TEXTS:,} texts in one request; split it into several.", field=field)
        if any(len(text) > _CHARACTERS for text in found):
            raise TooLarge(f"{field}: a text has at most {_CHARACTERS:,} characters.", field=field)
        return found


def routes(serving: Serving) -> APIRouter:
    """The routes, with what they serve."""
    router = APIRouter()

    @needs_where_asked(Scope.READ)
    async def rerank(request: Request) -> Response:
        """Scores each text against the question, the best first. Logits with `raw_scores`, else between 0 and 1 (their sigmoid)."""
        in_general(request)
        async with serving.gate:
            asked = await read_json(request, RerankBody, _BYTES)
            with ExitStack() as stack:
                model = serving.reranker_named(asked.model, stack)
                texts = asked.told()
                if not asked.query or len(asked.query) > _CHARACTERS:
                    raise InvalidInput(f"query: a question has 1 to {_CHARACTERS:,} characters.", field="query")
                logits = await while_connected(request, model.reranker.score(asked.query, texts))
                serving.metrics.reranked.inc(len(texts))
                return _in_form_of(asked, model.reranker.identity.name, texts, logits, reranker_headers(model))

    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        router.routes.append(Route(path, rerank, methods=["POST"]))
    return router


def _in_form_of(asked: RerankBody, model: str, texts: list[str], logits: list[float], headers: dict[str, str]) -> Response:
    """In the form of whoever asks."""
    best = sorted(range(len(texts)), key=lambda index: -logits[index])
    scores = logits if asked.raw_scores else [_sigmoid(logit) for logit in logits]
    rows: list[dict[str, Any]]
    if asked.texts is not None:
        rows = [{"index": index, "score": scores[index], **({"text": texts[index]} if asked.return_text else {})} for index in best]
        return json_response(rows, headers=headers)
    rows = [
        {"index": index, "relevance_score": scores[index], **({"document": {"text": texts[index]}} if asked.return_documents else {})}
        for index in best[: asked.top_n]
    ]
    return json_response({"model": model, "results": rows}, headers=headers)


def _sigmoid(logit: float) -> float:
    """Without overflow on either side."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
