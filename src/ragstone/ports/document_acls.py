"""Which groups may see which documents."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from ragstone.domain.access import DocumentAcl


class DocumentAcls(Protocol):
    """Contract (`uid` is a collection's; each call is one durable transaction; not versioned: what is set counts for every commit):

    - A path that nothing was set for, or no groups, is open to everyone who may read the collection.
    - `change` sets some paths' groups, all or none; no groups opens a document again. What differs from before is `unsettled` until `settle`.
    - `version` rises with each `change` that changed something, and is 0 at first. It is cheap: readers ask at every read.
    - `every`: all paths that are not open, with their version. `page`: the same in order of path, those that begin with `prefix`, strictly after `after`.
    - `unsettled`: changes that the index may not have yet, `path -> (groups, version of the change)`, oldest first. `settle` forgets one, unless
      the path was changed again since that version.
    - `drop` forgets a collection (idempotent). `collections`: those that have something to be settled.
    """

    async def change(self, uid: str, groups: Mapping[str, Collection[str]]) -> None: ...

    async def version(self, uid: str) -> int: ...

    async def every(self, uid: str) -> tuple[int, dict[str, frozenset[str]]]: ...

    async def page(self, uid: str, *, prefix: str = "", after: str = "", limit: int = 100) -> list[DocumentAcl]: ...

    async def unsettled(self, uid: str, limit: int = 100) -> dict[str, tuple[frozenset[str], int]]: ...

    async def settle(self, uid: str, path: str, version: int) -> None: ...

    async def collections(self) -> list[str]: ...

    async def drop(self, uid: str) -> None: ...

    async def close(self) -> None: ...
