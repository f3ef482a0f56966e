"""What is said of jobs that were given up."""

from __future__ import annotations

from pydantic import Field

from ragstone.services.orchestrator.schemas.responses import Form, Time


class DeadLetter(Form):
    """A job that was given up, for a reason that was not its sender's. Its bytes are kept until it is replayed or discarded."""

    job: str
    collection: str
    code: str = Field(description="stable word for the reason")
    error: str
    tries: int = Field(description="how often a worker took it")
    worker: str = Field(description="the process that gave it up")
    failed_at: Time
    accepted_at: Time
    principal: str
    author: str
    message: str
    changes: int = Field(description="how many the request asks for")


class DeadLetterWithPaths(DeadLetter):
    """The same with what it touches: the first 1,000 paths."""

    paths: list[str]


class DeadLettersResponse(Form):
    """The latest jobs first; `next` is the `before` of the next page."""

    dead_letters: list[DeadLetter]
    next: str | None


class DeadLetterResponse(Form):
    """One of them."""

    dead_letter: DeadLetterWithPaths
