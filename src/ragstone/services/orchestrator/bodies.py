"""Reading request bodies: counted while they arrive, strictly decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from ragstone.domain.errors import InvalidInput, TooLarge
from ragstone.services.orchestrator.problems import UnsupportedMediaType, invalid

SMALL = 2**20  # bytes of a JSON body that brings no documents
_IN_LOOP = 2**18  # bytes; larger bodies are decoded in a thread

Model = TypeVar("Model", bound=BaseModel)


async def read_bytes(request: Request, limit: int, field: str = "body") -> bytes:
    """The whole body. Raises `TooLarge` beyond `limit` bytes, before reading where Content-Length tells, else while reading."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(field, limit)
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                raise _too_large(field, limit)
            pieces.append(piece)
    except ClientDisconnect:
        raise InvalidInput("body: the connection ended before the body did.", field="body") from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def read_json(request: Request, model: type[Model], limit: int = SMALL) -> Model:
    """The body as `model`. Raises `UnsupportedMediaType`, `TooLarge`, `InvalidInput` naming the field."""
    check_json_type(request)
    body = await read_bytes(request, limit)
    if len(body) <= _IN_LOOP:
        return parse(model, body)
    return await asyncio.to_thread(parse, model, body)


def check_json_type(request: Request) -> None:
    """Only JSON media types; so a web page's form can't pass for an API call."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (media_type.startswith("application/") and media_type.endswith("+json")):
        raise UnsupportedMediaType("Content-Type: send application/json.", field="Content-Type")


def parse(model: type[Model], body: bytes) -> Model:
    """Strict JSON: valid UTF-8, no lone surrogates, no NaN or Infinity, at most 200 levels deep."""
    try:
        return model.model_validate(decode(body))
    except ValidationError as error:
        raise invalid(error) from None


def decode(body: bytes, field: str = "body") -> Any:
    """The JSON value of `body`; raises `InvalidInput` naming `field`."""
    try:
        return from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        reason = str(error)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{field}: it is not UTF-8 (at byte {error.start}).", field=field) from None
    raise InvalidInput(f"{field}: it is not valid JSON ({reason}).", field=field)


def json_header(headers: Mapping[str, str], name: str) -> Any:
    """The JSON value of a header, None where it is absent. Header values are Latin-1 on the wire: UTF-8 in them is read as such."""
    value = headers.get(name)
    return None if value is None else decode(value.encode("latin-1"), name)


def _too_large(field: str, limit: int) -> TooLarge:
    return TooLarge(f"{field}: at most {limit:,} bytes are taken; send less at a time.", field=field)
