"""Accepted bytes, kept until their job is done."""

from __future__ import annotations

from typing import Protocol


class Staging(Protocol):
    """Contract (`job` is the id of the job that the bytes are for; no other job's bytes are touched):

    - `put` returns the SHA-256 in hexadecimal once the bytes are durable (fsynced); putting the same bytes again is cheap and harmless.
    - `get` raises `NotFound` for bytes that are not there. `discard` removes all of a job's bytes; none there is fine. `jobs` lists whose bytes are kept.
    - Raises `StorageFull` when there is no space; nothing half-written is ever readable.
    """

    async def put(self, job: str, content: bytes) -> str: ...

    async def get(self, job: str, digest: str) -> bytes: ...

    async def discard(self, job: str) -> None: ...

    async def jobs(self) -> list[str]: ...
