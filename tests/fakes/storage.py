"""Storage with as much room as a test wants."""

from __future__ import annotations


class FixedStorage:
    """Implements `Storage`."""

    def __init__(self, free: int = 10**12, needed: int = 10**6) -> None:
        self.room = (free, needed)

    async def free(self) -> tuple[int, int]:
        return self.room
