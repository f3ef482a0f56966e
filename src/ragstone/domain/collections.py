"""A collection: a named knowledge base, the unit of isolation and of versioning."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.domain.spaces import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class Collection:
    """`uid` tells apart two collections that bore the same name at different times. `created_at`: Unix seconds.

    `spaces` are the registered embedding spaces, which every ingest writes; `spaces_version` rises with each change of them.
    `space_id` is the one that reads use until there is a head, which then names its own.
    """

    name: str
    uid: str
    language: str
    description: str
    created_at: float
    spaces: tuple[EmbeddingSpace, ...]
    spaces_version: int
    space_id: str

    def index_name(self, space_id: str) -> str:
        """Each (collection, embedding space) has an index of its own: forgetting a filter cannot leak (invariant 7)."""
        return f"{self.name}-{self.uid}-{space_id}"

    def space(self, space_id: str) -> EmbeddingSpace:
        """A registered space."""
        return next(space for space in self.spaces if space.id == space_id)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one collection, held by one attempt. `attempt` is the fencing token and, if published, the commit's seq.

    `head_id` and `head_seq` are None and 0 before the first commit. `gaps`: every aborted attempt that may have written. `expires_at` is
    on the catalog's clock; `ttl` is in seconds.
    """

    collection: Collection
    job_id: str
    attempt: int
    holder: str
    head_id: str | None
    head_seq: int
    gaps: frozenset[int]
    expires_at: float
    ttl: float
