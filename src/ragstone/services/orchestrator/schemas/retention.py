"""Bodies of retention and erasure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ragstone.services.orchestrator.schemas.requests import Body, Path
from ragstone.services.orchestrator.schemas.responses import Commit, Form, Time


class PruneBody(Body):
    """Which commits stay besides the head, the tagged ones and the targets of waiting rollbacks: all that either rule keeps."""

    keep_last: int | None = Field(default=None, ge=1, le=10**9, description="so many newest commits")
    keep_days: float | None = Field(
        default=None, ge=0, le=36500, allow_inf_nan=False, description="whatever was the head within so many days"
    )
    dry_run: bool = Field(default=False, description="only say what would go")


class PurgeBody(Body):
    """A document to be erased from the collection's whole history."""

    path: Path
    reason: str = Field(default="", max_length=1000, description="for the audit record")
    author: str = Field(default="anonymous", min_length=1, max_length=200, description="for the audit record")


class PruneReport(Form):
    """What a prune freed, or would free. `bytes`: of documents, texts and indexes; of a dry run an estimate for the indexes."""

    dry_run: bool
    kept: list[Commit]
    pruned: list[Commit]
    points: int
    bytes: int


class Purge(Form):
    """The audit record of an erasure. Counts say in how many commits, points and logged answers the document was found."""

    id: str
    collection: str
    path: str
    seq: int = Field(description="commits up to this seq have lost the document; a later ingestion may bring it again")
    author: str
    reason: str
    state: Literal["begun", "done"]
    begun_at: Time
    done_at: Time | None
    commits: int
    points: int
    interactions: int
    same_content: list[str] = Field(description="other documents of the head with the very same bytes; they stay")


class PurgesResponse(Form):
    """Newest first."""

    purges: list[Purge]
