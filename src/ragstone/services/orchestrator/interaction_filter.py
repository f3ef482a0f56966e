"""The query parameters that choose interactions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ragstone.domain.errors import InvalidInput
from ragstone.domain.interactions import InteractionFilter

_THUMBS = {"up": 1, "down": -1}


class InteractionQuery(BaseModel):
    """All that is given holds."""

    model_config = ConfigDict(extra="forbid")

    collection: str | None = Field(default=None, description="only this collection's", max_length=1000)
    since: str | None = Field(default=None, description="made then or later: an ISO 8601 time; without an offset UTC", max_length=64)
    until: str | None = Field(default=None, description="made before then: an ISO 8601 time", max_length=64)
    abstained: bool | None = Field(default=None, description="whether the collection held no answer")
    thumb: Literal["up", "down"] | None = Field(default=None, description="some feedback says so")
    tag: str | None = Field(default=None, description="some feedback has this tag", max_length=1000)
    commit: str | None = Field(default=None, description="answered from this commit: its whole id", max_length=1000)
    release: str | None = Field(default=None, description="made by this release: its id", max_length=1000)
    path: str | None = Field(default=None, description="a passage of this document was used", max_length=5000)
    before: str | None = Field(default=None, description="`next` of the page before: an interaction's id", max_length=100)

    def filter(self) -> InteractionFilter:
        """Raises `InvalidInput` for what is no time."""
        return InteractionFilter(
            collection=self.collection,
            since=parse_time("since", self.since),
            until=parse_time("until", self.until),
            abstained=self.abstained,
            thumb=_THUMBS[self.thumb] if self.thumb else None,
            tag=self.tag,
            commit_id=self.commit,
            release_id=self.release,
            path=self.path,
        )


class InteractionPage(InteractionQuery):
    """A page of them."""

    limit: int = Field(default=50, ge=1, le=1000, description="entries of a page")


class InteractionExport(InteractionQuery):
    """All of them."""

    format: Literal["jsonl", "parquet"] = Field(default="jsonl", description="JSON Lines, or Parquet with typed columns")
    limit: int | None = Field(default=None, ge=1, le=2**31, description="at most so many")


def parse_time(field: str, value: str | None) -> float | None:
    """Unix seconds. Raises `InvalidInput` naming the field."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        example = "2026-11-01T12:00:00Z"
        raise InvalidInput(f"{field}: {value!r} is not an ISO 8601 time; give one like {example} (a + as %2B).", field=field) from None
