"""Bodies of embedding spaces."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ragstone.services.orchestrator.schemas.requests import DEFAULT_TIMEOUT, Body
from ragstone.services.orchestrator.schemas.responses import Form, ShardProgress, Time


class BuildBody(Body):
    """The embedding space that shall be built: by default the one that a new collection would get."""

    model: str | None = Field(default=None, max_length=1000, description="name or digest of a model that is loaded")
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000, description="of a chunk, in the model's tokens")
    min_tokens: int | None = Field(default=None, ge=0, le=1_000_000, description="of a chunk; shorter ones are joined")
    workers: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="shards that embed at once, where bulk work has a runner; by default as many as its settings say",
    )


class SwitchBody(Body):
    """How long to wait for the switch."""

    wait: bool = Field(default=True, description="answer when the switch is published, not when the request is stored")
    timeout: float = Field(default=DEFAULT_TIMEOUT, ge=0, le=3600, allow_inf_nan=False, description="seconds to wait; then 202")


class Build(Form):
    """How far a space is. `rate`: chunks a second."""

    id: str
    job_id: str | None = Field(
        description="of the job that tells the same; null: it ended before builds were jobs, or the space was not built"
    )
    state: Literal["preparing", "filling", "ready", "dropped"]
    principal: str
    started_at: Time
    dropped_at: Time | None
    documents: int = Field(description="of the head that are in the space")
    documents_total: int
    chunks: int
    embedded: int = Field(description="chunks that went through the model; the others had a vector")
    reused: int
    seconds: float = Field(description="that this took so far")
    rate: float
    seconds_left: float | None
    workers: int = Field(description="shards that were asked for; 0: as many as the runner's settings say")
    shards: list[ShardProgress] = Field(description="of bulk work: how far those are that embed what is filled next")


class SpaceStatus(Form):
    """One space. `live`: questions are answered from it. `old`: complete, and still written; earlier commits are read from it."""

    id: str
    state: Literal["live", "old", "preparing", "filling", "ready", "dropped"]
    model_loaded: bool = Field(description="by the process that answers")
    space: dict[str, Any] = Field(description="everything that its vectors depend on")
    build: Build | None = Field(description="null for the first space of a collection")


class SpaceResponse(Form):
    """A space as it is now."""

    space: SpaceStatus


class SpacesResponse(Form):
    """The live one first."""

    spaces: list[SpaceStatus]
