"""The OpenAPI document: what FastAPI can't see (bodies that routes read themselves, problems) and the offline docs page."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import fastapi_standalone_docs  # type: ignore[import-untyped]  # it ships no types
from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from pydantic_core import to_json
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Route

from ragstone.services.orchestrator.access import document_keys, open_to_all, rule_of
from ragstone.services.orchestrator.problems import PROBLEM
from ragstone.services.orchestrator.schemas import doctor, hooks, openai, requests, responses, retention, spaces
from ragstone.use_cases.limits import Limits

_REFERENCE = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (
    requests.IngestBody,
    requests.IngestOptions,
    requests.MetadataByPath,
    requests.SearchBody,
    requests.QueryBody,
    requests.CollectionBody,
    requests.MoveBody,
    requests.RollbackBody,
    requests.TagBody,
    requests.FeedbackBody,
    requests.AclBody,
    doctor.DoctorBody,
    hooks.PushBody,
    retention.PruneBody,
    retention.PurgeBody,
    spaces.BuildBody,
    spaces.SwitchBody,
    openai.ChatBody,
    openai.EmbeddingsBody,
    openai.OpenAIError,
    responses.Problem,
)
_MEANING = {
    401: "The signature is missing or wrong, or the message too old",
    403: "Refused: a foreign Host or Origin",
    404: "There is no such collection, commit, tag, document, job, prompt or interaction",
    405: "Method not allowed",
    409: "The state of the collection does not allow it",
    410: "It was pruned, purged or deleted",
    412: "What the request touches has changed since the commit of If-Match; see `head` and `conflicts`",
    413: "A limit on size, count or length was exceeded",
    415: "The body's media type is not read here",
    422: "The request is not acceptable as it stands; `field` names what was wrong",
    429: "Too much at once; see Retry-After",
    500: "Unexpected; the server's log tells more under `request_id`",
    503: "A dependency did not answer",
    507: "No space is left; nothing was published",
}
_RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>ragstone API</title><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});\n'


def errors(*statuses: int, shape: str = "Problem") -> dict[int | str, dict[str, Any]]:
    """`responses` of a route for these statuses, beside those that every route may give."""
    media_type = PROBLEM if shape == "Problem" else "application/json"
    content = {media_type: {"schema": {"$ref": _REFERENCE.format(model=shape)}}}
    return {
        status: {"description": _MEANING[status], "content": content, **({"headers": _RETRY} if status in (429, 503) else {})}
        for status in sorted({403, 422, 500, *statuses, *({410} if 404 in statuses else ())})
    }


def accepted(model: type[BaseModel] | Any) -> dict[int | str, dict[str, Any]]:
    """`responses` of a write: done, or going on."""
    commit = {"X-Ragstone-Commit": {"description": "the published commit", "schema": {"type": "string"}}}
    location = {"Location": {"description": "the job", "schema": {"type": "string"}}}
    return {
        200: {"model": model, "description": "Published or unchanged; or the plan of a dry run", "headers": commit},
        202: {"model": responses.JobResponse, "description": "Accepted and stored; see Location", "headers": location},
    }


def read(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """`responses` of a read."""
    return {200: {"model": model, "headers": {"X-Ragstone-Commit": {"description": "the commit read", "schema": {"type": "string"}}}}}


def event_stream(description: str, *names: str) -> dict[str, Any]:
    """`content` of a response as Server-Sent Events; the schema is one event's, its data JSON or `[DONE]`."""
    name = {"type": "string", "enum": [*names, "message"]}
    return {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "description": description,
                "properties": {"event": name, "data": {"type": "string"}},
                "required": ["data"],
                "additionalProperties": False,
            }
        }
    }


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """`requestBody.content` of a JSON body that the route reads itself."""
    if model not in _BODIES:
        raise AssertionError(f"{model.__name__} is missing in the OpenAPI document's bodies")
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}


def body(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route with a JSON body."""
    return {"requestBody": {"required": True, "content": json_body(model)}}


def multipart_body() -> dict[str, Any]:
    """`requestBody.content` of an ingestion as a form."""
    reference = _REFERENCE.format(model=requests.IngestOptions.__name__)
    metadata = _REFERENCE.format(model=requests.MetadataByPath.__name__)
    properties = {
        "collection": {"type": "string", "description": "may stand in `options` instead"},
        "options": {"allOf": [{"$ref": reference}], "description": "JSON: everything of the JSON body but the documents"},
        "metadata": {"allOf": [{"$ref": metadata}], "description": "JSON: metadata by path"},
        "file": {
            "type": "array",
            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
            "description": "one part a document, under any field name; its filename is the document's path, its content type the media type",
        },
    }
    encoding = {"options": {"contentType": "application/json"}, "metadata": {"contentType": "application/json"}}
    return {"multipart/form-data": {"schema": {"type": "object", "properties": properties}, "encoding": encoding}}


def install(app: FastAPI, limits: Limits, *, keys: bool) -> None:
    """Makes `app.openapi` give the whole document, built once, with the limits of this server, and which key each operation needs."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            built = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            _, definitions = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REFERENCE)
            schemas = built.setdefault("components", {}).setdefault("schemas", {})
            for name, schema in definitions["$defs"].items():
                if schemas.setdefault(name, schema) != schema:
                    raise AssertionError(f"two schemas are called {name}")
            for name in ("SearchBody", "QueryBody"):
                schemas[name]["properties"]["top_k"]["maximum"] = limits.top_k
                schemas[name]["properties"]["question"]["maxLength"] = limits.question_characters
            _document_refusals(built, app.routes)
            if keys:
                document_keys(built, app.routes)
            app.openapi_schema = built
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def _document_refusals(document: dict[str, Any], routes: list[BaseRoute]) -> None:
    """What every route behind the guard may answer beside its own: an allowance is used up, a store does not answer."""
    for route in routes:
        if not isinstance(route, Route) or not route.include_in_schema or rule_of(route) is None:
            continue
        for method in route.methods or ():
            answers = document["paths"][route.path_format][method.lower()]["responses"]
            for status in (429, 503):
                answers.setdefault(str(status), {**answers["403"], "description": _MEANING[status], "headers": _RETRY})


def routes(app: FastAPI) -> APIRouter:
    """/openapi.json, and /docs: Swagger UI from the installed package, nothing from elsewhere."""
    router = APIRouter(include_in_schema=False)
    assets = files(fastapi_standalone_docs) / "static" / "swagger"

    def add(path: str, content: bytes, media_type: str, policy: str | None = None) -> None:
        headers = {"Cache-Control": "no-cache"} | ({"Content-Security-Policy": policy} if policy else {})

        @open_to_all
        async def serve() -> Response:
            return Response(content, headers=headers, media_type=media_type)

        router.add_api_route(path, serve, methods=["GET"])

    @router.get("/openapi.json")
    @open_to_all
    async def document() -> Response:
        return Response(to_json(app.openapi()), media_type="application/json")

    @router.get("/")
    @open_to_all
    async def start() -> Response:
        return RedirectResponse("/docs")

    add("/docs", _PAGE.encode(), "text/html; charset=utf-8", _CONTENT_POLICY)
    add("/docs/start.js", _START.encode(), "text/javascript; charset=utf-8")
    for name, media_type in (("swagger-ui-bundle.js", "text/javascript; charset=utf-8"), ("swagger-ui.css", "text/css; charset=utf-8")):
        add(f"/docs/{name}", (assets / name).read_bytes(), media_type)
    return router


def tags(names: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """OpenAPI tags with their descriptions."""
    return [{"name": name, "description": description} for name, description in names]
