"""Bodies of a collection's history."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ragstone.services.orchestrator.schemas.responses import Chunk, Commit, Form, Time


class CommitsResponse(Form):
    """A page of commits, newest first; `next` is the `before` of the next one."""

    commits: list[Commit]
    next: int | None


class Change(Form):
    """One document of a difference."""

    path: str
    kind: Literal["added", "changed", "removed"]


class Difference(Form):
    """What changed. A chunk that only moved is kept."""

    documents: list[Change]
    chunks_added: list[Chunk]
    chunks_removed: list[Chunk]
    chunks_kept: int | None = Field(description="null: documents of the collection are kept from the asker")


class ShowResponse(Difference):
    """A commit against its parent."""

    commit: Commit
    parent: Commit | None


class DiffResponse(Difference):
    """Two commits against each other."""

    before: Commit | None
    after: Commit


class Tag(Form):
    """A fixed name for a commit."""

    name: str
    commit_id: str
    seq: int
    created_at: Time


class TagsResponse(Form):
    """Tags, newest first."""

    tags: list[Tag]
