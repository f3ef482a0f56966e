"""Releases that were registered, and the aliases that move over them."""

from __future__ import annotations

from typing import Protocol

from ragstone.domain.releases import Alias, RegisteredRelease, Release


class ReleaseRegistry(Protocol):
    """Contract:

    - `register` stores a release under the collection's next number (1, 2, 3 ...), with who did it; the same release again gives what was stored then.
    - `release` (by collection and the release's id) raises `NotFound`. `releases` newest first, those with a number below `before`.
    - `move_alias` points a name at a registered release and returns it. `expected` is the id of the release that it points at now, None for a name
      that is not used yet; anything else raises `Conflict`. An unknown release raises `NotFound`. `drop_alias` is idempotent.
    - `aliases` in order of name; `alias` raises `NotFound`.
    - Raises `Unavailable`.
    """

    async def register(self, release: Release, principal: str) -> RegisteredRelease: ...

    async def release(self, collection: str, release_id: str) -> RegisteredRelease: ...

    async def releases(self, collection: str, *, before: int | None = None, limit: int = 50) -> list[RegisteredRelease]: ...

    async def move_alias(self, collection: str, name: str, release_id: str, *, expected: str | None) -> Alias: ...

    async def drop_alias(self, collection: str, name: str) -> None: ...

    async def alias(self, collection: str, name: str) -> Alias: ...

    async def aliases(self, collection: str) -> list[Alias]: ...

    async def close(self) -> None: ...
