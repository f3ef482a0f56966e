"""A backup of nothing but a few bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection


class InMemoryCopy:
    """Implements `BackupCopy`."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self.closed = 0

    async def stream(self) -> AsyncGenerator[bytes, None]:
        for piece in self._pieces:
            yield piece

    async def close(self) -> None:
        self.closed += 1


class InMemoryBackup:
    """Implements `Backup`; `copies` are those made."""

    def __init__(self, pieces: list[bytes] | None = None) -> None:
        self._pieces = pieces or [b"back", b"up"]
        self.copies: list[InMemoryCopy] = []

    async def copy(self, collections: Collection[str]) -> InMemoryCopy:
        self.copies.append(InMemoryCopy(self._pieces))
        return self.copies[-1]
