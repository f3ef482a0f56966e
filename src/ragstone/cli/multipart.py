"""A multipart/form-data body made piece by piece: one file is open at a time, whatever the number of documents."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from ragstone.cli.local import LocalDocument
from ragstone.domain.errors import InvalidInput

_PIECE = 1 << 20  # bytes


class Form:
    """The body of one POST /ingest. `sent(bytes)` is told as documents' bytes go out."""

    def __init__(
        self, options: Mapping[str, Any], documents: Sequence[LocalDocument], sent: Callable[[int], None] = lambda _: None
    ) -> None:
        self._options = options
        self._documents = documents
        self._sent = sent
        self._boundary = f"ragstone-{secrets.token_hex(16)}"

    @property
    def content_type(self) -> str:
        """For the header."""
        return f"multipart/form-data; boundary={self._boundary}"

    async def body(self) -> AsyncIterator[bytes]:
        """Raises `InvalidInput` when a file can't be read any more."""
        yield self._field("options", self._options)
        if metadata := {document.path: document.metadata for document in self._documents if document.metadata}:
            yield self._field("metadata", metadata)
        for document in self._documents:
            yield self._head(document)
            try:
                for piece in document.pieces(_PIECE):
                    yield piece
                    self._sent(len(piece))
            except OSError as error:
                reason = (error.strerror or "input/output error").lower()
                raise InvalidInput(f"{document.path}: it can't be read any more ({reason}).", field=document.path) from None
            yield b"\r\n"
        yield f"--{self._boundary}--\r\n".encode()

    def _field(self, name: str, value: object) -> bytes:
        head = f'--{self._boundary}\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: application/json\r\n\r\n'
        return head.encode() + json.dumps(value).encode() + b"\r\n"

    def _head(self, document: LocalDocument) -> bytes:
        name = document.path.replace("\\", "\\\\").replace('"', '\\"')  # paths with control characters were refused before
        disposition = f'Content-Disposition: form-data; name="files"; filename="{name}"'
        return f"--{self._boundary}\r\n{disposition}\r\nContent-Type: {document.media_type or 'application/octet-stream'}\r\n\r\n".encode()
