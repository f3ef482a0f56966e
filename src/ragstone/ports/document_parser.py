"""Bytes to text with structure."""

from __future__ import annotations

from typing import Protocol

from ragstone.domain.documents import ExtractedText


class DocumentParser(Protocol):
    """Contract:

    - `parse` gives the same text for the same bytes, media type and path, always; limits on memory, CPU and time hold whatever the bytes are.
    - Raises `UnreadableDocument` (field: the path) for bytes that can't be read, `InvalidInput` for a media type that is not supported.
    - `versions`: sorted `name/version` of every parser; part of the embedding space.
    - `media_type` guesses from the path's suffix (and a look at the bytes); raises `InvalidInput` when it is no type that can be parsed.
    """

    @property
    def versions(self) -> tuple[str, ...]: ...

    def media_type(self, path: str, content: bytes) -> str: ...

    async def parse(self, path: str, media_type: str, content: bytes) -> ExtractedText: ...

    async def close(self) -> None: ...
