"""Forms, however their bytes are cut into pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from ragstone.services.orchestrator.multipart import Form, read_multipart

BODY = (
    b'--b\r\nContent-Disposition: form-data; name="collection"\r\n\r\nhandbook\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="a/\xc3\xbc \\"x\\".txt"\r\nContent-Type: Text/Plain; charset=utf-8\r\n\r\nline\r\n--bb\r\n\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="empty"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--b--\r\n'
)


async def read(pieces: list[bytes]) -> Form:
    waiting: Iterator[bytes] = iter(pieces)

    async def receive() -> dict[str, Any]:
        piece = next(waiting, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    scope = {"type": "http", "method": "POST", "path": "/ingest", "headers": [(b"content-type", b"multipart/form-data; boundary=b")]}
    return await read_multipart(Request(scope, receive), limit=10_000, documents=10)


@given(st.lists(st.integers(0, len(BODY)), max_size=6).map(sorted))
async def test_pieces_do_not_matter(cuts: list[int]) -> None:
    form = await read([BODY[start:end] for start, end in zip([0, *cuts], [*cuts, len(BODY)], strict=True)])
    assert form.fields == {"collection": b"handbook"}
    assert [(upload.path, upload.media_type, upload.content) for upload in form.uploads] == [
        ('a/ü "x".txt', "text/plain", b"line\r\n--bb\r\n"),
        ("empty", None, b""),
    ]
