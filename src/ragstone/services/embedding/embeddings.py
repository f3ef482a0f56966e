"""OpenAI's `/v1/embeddings` and `/v1/models`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from ragstone.domain.access import Scope
from ragstone.domain.errors import NotFound
from ragstone.services.embedding.serving import Serving, embedder_headers, told
from ragstone.services.orchestrator.access import in_general, needs_where_asked
from ragstone.services.orchestrator.bodies import read_json
from ragstone.services.orchestrator.context import json_response
from ragstone.services.orchestrator.documentation import body, errors
from ragstone.services.orchestrator.embeddings import answer, checked, model_json
from ragstone.services.orchestrator.schemas import openai as forms

_SHAPE = "OpenAIError"


def routes(serving: Serving) -> APIRouter:
    """The routes, with what they serve."""
    router = APIRouter(tags=["openai"])
    limits = serving.settings.limits

    @router.get("/v2/models", include_in_schema=False)  # where clients of Cohere's protocol look
    @router.get("/v1/models", summary="List models", response_model=None, responses={200: {"model": forms.OpenAIModels}, **errors()})
    @needs_where_asked(Scope.READ)
    async def models(request: Request) -> Response:
        """The embedding model, with its digest, version, embedding space and all that its vectors depend on; and the reranker, if there is one."""
        in_general(request)
        return json_response({"object": "list", "data": list(_listed(serving))}, headers=embedder_headers(serving.embedder.now))

    @router.get(
        "/v1/models/{model:path}",
        summary="One model",
        response_model=None,
        responses={200: {"model": forms.OpenAIModel}, **errors(404, shape=_SHAPE)},
    )
    @needs_where_asked(Scope.READ)
    async def model(request: Request, model: str) -> Response:
        """One of them."""
        in_general(request)
        found = next((each for each in _listed(serving) if each["id"] == model), None)
        if found is None:
            raise NotFound(f"model: there is no {model[:100]!r} here; see GET /v1/models.", field="model")
        return json_response(found, headers=embedder_headers(serving.embedder.now))

    @router.post(
        "/v1/embeddings",
        summary="Embeddings",
        response_model=None,
        responses={200: {"model": forms.Embeddings}, **errors(404, 409, 413, 415, 429, 503, shape=_SHAPE)},
        openapi_extra=body(forms.EmbeddingsBody),
    )
    @needs_where_asked(Scope.READ)
    async def embeddings(request: Request) -> Response:
        """As the orchestrator's. `ragstone` also tells the model's `version` and `space`."""
        in_general(request)
        async with serving.gate:
            asked = await read_json(request, forms.EmbeddingsBody)
            with ExitStack() as stack:
                model = serving.embedder_named(asked.model, stack)
                texts, kind = checked(asked, model.embedder.identity, limits.question_characters)
                vectors = await serving.embed(request, model, texts, kind)
                used = await serving.measured(model, texts, kind)
                more, headers = told(model), embedder_headers(model)
                return await answer(model.embedder.identity, vectors, kind, used, asked.encoding_format, more, headers)

    return router


def _listed(serving: Serving) -> Iterator[dict[str, Any]]:
    model = serving.embedder.now
    yield model_json(model.embedder.identity, version=model.version)
    if serving.reranker is not None:
        reranker = serving.reranker.now
        identity = asdict(reranker.reranker.identity)
        own = {**identity, "version": reranker.version}
        yield {"id": identity["name"], "object": "model", "created": 0, "owned_by": "ragstone", "reranker": own}
