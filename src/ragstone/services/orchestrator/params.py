"""Parameters that several routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from ragstone.services.orchestrator.schemas.requests import DEFAULT_TIMEOUT

CollectionPath = Annotated[str, Path(description="a collection's name", examples=["handbook"])]
DocumentPath = Annotated[str, Path(description="a document's path; it may hold slashes", examples=["guide/start.md"])]
Reference = Annotated[
    str, Path(description="a commit id or 7 or more of its digits, a tag, `#position` (as %23), a time, or `head`", examples=["head"])
]
AsOf = Annotated[
    str | None,
    Query(description="read this commit: a commit id, a tag, `#position` (as %23), an ISO 8601 time, or `head`", max_length=1000),
]
MinCommit = Annotated[str | None, Query(description="the head must have reached this commit", max_length=1000)]
Limit = Annotated[int, Query(ge=1, le=1000, description="entries of a page")]


class WriteQuery(BaseModel):
    """What a write without a JSON body takes."""

    model_config = ConfigDict(extra="forbid")

    wait: bool = Field(default=True, description="answer when the commit is published, not when the request is stored")
    timeout: float = Field(default=DEFAULT_TIMEOUT, ge=0, le=3600, allow_inf_nan=False, description="seconds to wait; then 202")
    message: str = Field(default="", max_length=10_000, description="the commit's message")
    author: str = Field(default="anonymous", min_length=1, max_length=200)


WriteParameters = Annotated[WriteQuery, Query()]
