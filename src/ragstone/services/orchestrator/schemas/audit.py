"""The audit log's query and its entries."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ragstone.domain.audit import AuditFilter
from ragstone.services.orchestrator.interaction_filter import parse_time
from ragstone.services.orchestrator.schemas.responses import Form, Time


class AuditPage(BaseModel):
    """All that is given holds."""

    model_config = ConfigDict(extra="forbid")

    principal: str | None = Field(default=None, description="only this one's", max_length=300)
    collection: str | None = Field(default=None, description="only this collection's", max_length=1000)
    since: str | None = Field(default=None, description="then or later: an ISO 8601 time; without an offset UTC", max_length=64)
    until: str | None = Field(default=None, description="before then: an ISO 8601 time", max_length=64)
    before: str | None = Field(default=None, description="`next` of the page before: an entry's id", max_length=100)
    limit: int = Field(default=50, ge=1, le=1000, description="entries of a page")

    def filter(self) -> AuditFilter:
        """Raises `InvalidInput` for what is no time."""
        return AuditFilter(self.principal, self.collection, parse_time("since", self.since), parse_time("until", self.until))


class AuditEntry(Form):
    """One request that changed or administered something, or tried to."""

    id: str
    at: Time
    principal: str = Field(description="empty: nobody who is known here")
    what: str = Field(description="the method and the route's template", examples=["POST /ingest"])
    collection: str | None = Field(description="null: all of them, or one that is not known")
    status: int = Field(description="of the answer; 499: the client was gone")
    request_id: str


class AuditResponse(Form):
    """Newest first."""

    entries: list[AuditEntry]
    next: str | None
