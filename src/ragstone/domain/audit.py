"""Audit entries: who did what, where, when, and how it ended. Never contents."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One write or act of administration. `what`: the method and the route's template. `status`: the HTTP status of its answer.

    `collection` is empty for what concerns all of them. `at`: Unix seconds.
    """

    id: str
    at: float
    principal: str
    what: str
    collection: str
    status: int
    request_id: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are meant; all that is given holds. `since <= at < until`, Unix seconds."""

    principal: str | None = None
    collection: str | None = None
    since: float | None = None
    until: float | None = None
