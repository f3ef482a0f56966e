"""Who changed what."""

from __future__ import annotations

from typing import Protocol

from ragstone.domain.audit import AuditEntry, AuditFilter


class AuditLog(Protocol):
    """Contract: entries are only ever added.

    - `append` returns once the entry survives power loss. The same id again is no error and changes nothing. Raises `StorageFull` or `Unavailable`.
    - `page`: those that pass the filter, newest first by order of storing; `before` is the id of the last one of the page before. An id that is not
      there gives an empty page.
    """

    async def append(self, entry: AuditEntry) -> None: ...

    async def page(self, filter: AuditFilter, *, before: str | None = None, limit: int = 50) -> list[AuditEntry]: ...

    async def close(self) -> None: ...
