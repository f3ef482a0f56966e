"""Keys in memory."""

from __future__ import annotations

from ragstone.domain.access import Principal


class KnownKeys:
    """Implements `Authenticator` over keys as they are; `keys` may be changed at any time."""

    def __init__(self, keys: dict[str, Principal]) -> None:
        self.keys = keys

    async def principal(self, key: str) -> Principal | None:
        return self.keys.get(key) if key else None

    async def close(self) -> None:
        """Nothing to close."""
