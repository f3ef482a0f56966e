"""An audit log in a list."""

from __future__ import annotations

from ragstone.domain.audit import AuditEntry, AuditFilter


class InMemoryAuditLog:
    """Implements `AuditLog`."""

    def __init__(self) -> None:
        self.entries: dict[str, AuditEntry] = {}

    async def append(self, entry: AuditEntry) -> None:
        self.entries.setdefault(entry.id, entry)

    async def page(self, filter: AuditFilter, *, before: str | None = None, limit: int = 50) -> list[AuditEntry]:
        newest = list(reversed(self.entries.values()))
        if before is not None:
            ids = [entry.id for entry in newest]
            newest = newest[ids.index(before) + 1 :] if before in ids else []
        return [
            entry
            for entry in newest
            if filter.principal in (None, entry.principal)
            and filter.collection in (None, entry.collection)
            and (filter.since is None or entry.at >= filter.since)
            and (filter.until is None or entry.at < filter.until)
        ][:limit]

    async def close(self) -> None:
        """Nothing to close."""
