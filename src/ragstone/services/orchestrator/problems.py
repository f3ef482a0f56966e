"""Errors as RFC 9457 problem documents, or in OpenAI's shape on its routes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from ragstone.domain.commits import HeadConflict
from ragstone.domain.errors import Forbidden, InvalidInput, RagstoneError, Unauthorized
from ragstone.domain.jobs import JobResult

PROBLEM = "application/problem+json"
_MAY_PASS = frozenset({429, 503})
_CHALLENGE = 'Bearer realm="ragstone"'  # RFC 6750
OPENAI_PATHS = ("/v1/chat/", "/v1/embeddings", "/v1/models")


class UnsupportedMediaType(InvalidInput):
    """The body's Content-Type is not one that the route reads."""

    code = "unsupported-media-type"
    status = 415
    title = "Unsupported media type"


class NoSuchRoute(RagstoneError):
    """There is nothing at this path."""

    code = "not-found"
    status = 404
    title = "Not found"


class MethodNotAllowed(RagstoneError):
    """The path exists, the method does not."""

    code = "method-not-allowed"
    status = 405
    title = "Method not allowed"


class JobFailed(RagstoneError):
    """A job ended in state `failed`; carries its recorded reason."""

    def __init__(self, job_id: str, result: JobResult) -> None:
        super().__init__(result.error or f"Job {job_id} failed.")
        self.failures = result.failures
        self.conflict = result.conflict
        self.code = result.error_code or RagstoneError.code
        self.status = result.status if result.status >= 400 else RagstoneError.status
        self.field = result.failures[0].path if result.failures else None


def problem(error: RagstoneError, request_id: str) -> dict[str, Any]:
    """The problem document; `failures` where the error lists documents, `missing` dependencies, `head` and `conflicts` where If-Match failed."""
    form: dict[str, Any] = {
        "type": f"urn:ragstone:problem:{error.code}",
        "title": _TITLES.get(error.code, error.title),
        "status": error.status,
        "detail": error.message,
        "request_id": request_id,
    }
    if error.field is not None:
        form["field"] = error.field
    conflict: HeadConflict | None = getattr(error, "conflict", None)
    if conflict is not None:
        form |= conflict_json(conflict)
    for name in ("failures", "missing"):
        listed: Iterable[Any] | None = getattr(error, name, None)
        if listed is not None:
            form[name] = [asdict(each) for each in listed]
    return form


def conflict_json(conflict: HeadConflict) -> dict[str, Any]:
    """The members `head` and `conflicts` of a failed If-Match."""
    head = None if conflict.head_id is None else {"id": conflict.head_id, "position": conflict.position, "seq": conflict.seq}
    return {"head": head, "conflicts": {"paths": list(conflict.paths), "count": conflict.count}}


def openai_error(error: RagstoneError, request_id: str) -> dict[str, Any]:
    """The same in the shape that OpenAI's clients read."""
    kind = "server_error" if error.status >= 500 else "rate_limit_error" if error.status == 429 else "invalid_request_error"
    return {"error": {"message": error.message, "type": kind, "param": error.field, "code": error.code, "request_id": request_id}}


def error_response(error: RagstoneError, path: str, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """The response for a request to `path`; `Retry-After` in whole seconds where it may pass or the error names a time, the way to authenticate where that failed."""
    fields = dict(headers or {})
    if error.retry_after is not None or error.status in _MAY_PASS:
        fields["Retry-After"] = str(max(1, math.ceil(error.retry_after or 1.0)))
    if isinstance(error, Unauthorized):
        fields["WWW-Authenticate"] = _CHALLENGE + (', error="invalid_token"' if error.presented else "")
    elif isinstance(error, Forbidden) and error.field == "Authorization":
        fields["WWW-Authenticate"] = f'{_CHALLENGE}, error="insufficient_scope"'
    if path.startswith(OPENAI_PATHS):
        return Response(to_json(openai_error(error, request_id)), error.status, fields, "application/json")
    return Response(to_json(problem(error, request_id)), error.status, fields, PROBLEM)


def invalid(error: ValidationError | RequestValidationError) -> InvalidInput:
    """The first of pydantic's errors as one of ours: its place as `field`, its reason in words."""
    if isinstance(error, ValidationError):
        first: Mapping[str, Any] = error.errors(include_url=False, include_input=False)[0]
        place = first["loc"]
    else:
        first = error.errors()[0]
        place = first["loc"][1:]  # FastAPI says first where it looked: query, path, header
    field = ".".join(map(str, place))[:200] or "body"
    return InvalidInput(f"{field}: {_reason(first)}.", field=field)


def _reason(error: Mapping[str, Any]) -> str:
    """What pydantic says of commoner mistakes names its own checks; these say what to do."""
    match error["type"]:
        case "string_pattern_mismatch" if error["ctx"]["pattern"] == r"\S":
            return "it is empty"
        case "too_short":
            return f"give at least {error['ctx']['min_length']}"
        case "extra_forbidden":
            return "there is no such field; leave it out"
        case "missing":
            return "it is missing"
    return str(error["msg"])


def _titles() -> dict[str, str]:
    """Title by code, of every error class. A recorded failure carries only its code."""
    found: dict[str, str] = {}
    classes: list[type[RagstoneError]] = [RagstoneError]
    while classes:
        kind = classes.pop()
        found.setdefault(kind.code, kind.title)
        classes += kind.__subclasses__()
    return found


_TITLES = _titles()
