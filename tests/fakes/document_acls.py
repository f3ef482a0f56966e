"""Groups of documents in a dict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from ragstone.domain.access import DocumentAcl


class InMemoryAcls:
    """Implements `DocumentAcls`."""

    def __init__(self) -> None:
        self._versions: defaultdict[str, int] = defaultdict(int)
        self._groups: defaultdict[str, dict[str, frozenset[str]]] = defaultdict(dict)
        self._unsettled: defaultdict[str, dict[str, tuple[frozenset[str], int]]] = defaultdict(dict)

    async def change(self, uid: str, groups: Mapping[str, Collection[str]]) -> None:
        known = self._groups[uid]
        changed = {path: frozenset(wanted) for path, wanted in groups.items() if known.get(path, frozenset()) != frozenset(wanted)}
        if not changed:
            return
        self._versions[uid] += 1
        for path, wanted in changed.items():
            known[path] = wanted
            self._unsettled[uid].pop(path, None)
            self._unsettled[uid][path] = wanted, self._versions[uid]
            if not wanted:
                del known[path]

    async def version(self, uid: str) -> int:
        return self._versions[uid]

    async def every(self, uid: str) -> tuple[int, dict[str, frozenset[str]]]:
        return self._versions[uid], dict(self._groups[uid])

    async def page(self, uid: str, *, prefix: str = "", after: str = "", limit: int = 100) -> list[DocumentAcl]:
        paths = sorted(path for path in self._groups[uid] if path.startswith(prefix) and path > after)
        return [DocumentAcl(path, self._groups[uid][path]) for path in paths[:limit]]

    async def unsettled(self, uid: str, limit: int = 100) -> dict[str, tuple[frozenset[str], int]]:
        return dict(list(self._unsettled[uid].items())[:limit])

    async def settle(self, uid: str, path: str, version: int) -> None:
        if self._unsettled[uid].get(path, (None, None))[1] == version:
            del self._unsettled[uid][path]

    async def collections(self) -> list[str]:
        return [uid for uid, paths in self._unsettled.items() if paths]

    async def drop(self, uid: str) -> None:
        for held in (self._versions, self._groups, self._unsettled):
            held.pop(uid, None)

    async def close(self) -> None:
        """Nothing to close."""
