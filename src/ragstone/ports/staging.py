"""Accepted bytes, kept until their job is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Staging(Protocol):
    """Contract:

    - `put` returns the SHA-256 in hexadecimal once the bytes are durable (fsynced); putting the same bytes again is cheap and harmless.
    - `get` raises `NotFound` for bytes that are not there. `discard` of absent bytes does nothing.
    - Raises `StorageFull` when there is no space; nothing half-written is ever readable.
    """

    async def put(self, content: bytes) -> str: ...

    async def get(self, digest: str) -> bytes: ...

    async def discard(self, digests: Iterable[str]) -> None: ...
