"""A staging area in dicts."""

from __future__ import annotations

from ragstone.domain.documents import checksum
from ragstone.domain.errors import NotFound


class InMemoryStaging:
    """Implements `Staging`."""

    def __init__(self) -> None:
        self._contents: dict[str, dict[str, bytes]] = {}

    async def put(self, job: str, content: bytes) -> str:
        digest = checksum(content)
        self._contents.setdefault(job, {})[digest] = content
        return digest

    async def get(self, job: str, digest: str) -> bytes:
        try:
            return self._contents[job][digest]
        except KeyError:
            raise NotFound(f"no bytes are staged for job {job[:64]!r} under {digest[:64]!r}.") from None

    async def discard(self, job: str) -> None:
        self._contents.pop(job, None)

    async def jobs(self) -> list[str]:
        return sorted(self._contents)
