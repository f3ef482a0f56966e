"""What lakeFS' action sends, and what it is told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ragstone.services.orchestrator.schemas.requests import Body
from ragstone.services.orchestrator.schemas.responses import Form


class PushBody(Body):
    """Something was committed to, or merged into, an inbox."""

    event: Literal["post-commit", "post-merge"]
    repository: str = Field(min_length=1, max_length=100, description="lakeFS' name of it")
    branch: str = Field(min_length=1, max_length=1000)
    commit: str = Field(min_length=1, max_length=100)
    sent_at: float = Field(ge=0, le=10**11, allow_inf_nan=False, description="Unix seconds")


class TakenResponse(Form):
    """Which jobs it became. None, and no commit, when everything was taken before. `too_large`: paths of documents that were left out."""

    collection: str
    commit: str | None
    jobs: list[str]
    too_large: list[str]
