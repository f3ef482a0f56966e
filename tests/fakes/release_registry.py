"""A release registry in dicts."""

from __future__ import annotations

import time

from ragstone.domain.errors import Conflict, NotFound
from ragstone.domain.names import check_alias_name
from ragstone.domain.releases import Alias, RegisteredRelease, Release


class InMemoryRegistry:
    """Implements `ReleaseRegistry`."""

    def __init__(self) -> None:
        self._releases: dict[str, list[RegisteredRelease]] = {}
        self._aliases: dict[tuple[str, str], str] = {}

    async def register(self, release: Release, principal: str) -> RegisteredRelease:
        known = self._releases.setdefault(release.collection, [])
        for registered in known:
            if registered.release.id == release.id:
                return registered
        known.append(RegisteredRelease(release, len(known) + 1, principal, time.time()))
        return known[-1]

    async def release(self, collection: str, release_id: str) -> RegisteredRelease:
        for registered in self._releases.get(collection, []):
            if registered.release.id == release_id:
                return registered
        raise NotFound("no such release", field="release")

    async def releases(self, collection: str, *, before: int | None = None, limit: int = 50) -> list[RegisteredRelease]:
        found = [one for one in reversed(self._releases.get(collection, [])) if before is None or one.number < before]
        return found[:limit]

    async def move_alias(self, collection: str, name: str, release_id: str, *, expected: str | None) -> Alias:
        check_alias_name(name)
        target = await self.release(collection, release_id)
        if self._aliases.get((collection, name)) != expected:
            raise Conflict("it moved meanwhile", field="expected")
        self._aliases[collection, name] = release_id
        return Alias(collection, name, release_id, target.number)

    async def drop_alias(self, collection: str, name: str) -> None:
        self._aliases.pop((collection, name), None)

    async def alias(self, collection: str, name: str) -> Alias:
        if (collection, name) not in self._aliases:
            raise NotFound("no such alias", field="alias")
        target = await self.release(collection, self._aliases[collection, name])
        return Alias(collection, name, target.release.id, target.number)

    async def aliases(self, collection: str) -> list[Alias]:
        return [await self.alias(collection, name) for owner, name in sorted(self._aliases) if owner == collection]

    async def close(self) -> None:
        pass
