"""A collection: a named knowledge base, the unit of isolation and of versioning."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.domain.builds import UNFINISHED, Build
from ragstone.domain.commits import OPEN
from ragstone.domain.errors import Gone
from ragstone.domain.spaces import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class Collection:
    """`uid` tells apart two collections that bore the same name at different times. `created_at`: Unix seconds.

    `spaces` are the registered embedding spaces, which every ingest writes; `spaces_version` rises with each change of them.
    `space_id` is the one that reads use until there is a head, which then names its own. `builds`: one for each space that was added later, or that goes.
    `past_builds`: the last ones of which nothing else is left, oldest first.
    """

    name: str
    uid: str
    language: str
    description: str
    created_at: float
    spaces: tuple[EmbeddingSpace, ...]
    spaces_version: int
    space_id: str
    builds: tuple[Build, ...] = ()
    past_builds: tuple[Build, ...] = ()

    def index_name(self, space_id: str) -> str:
        """Each (collection, embedding space) has an index of its own: forgetting a filter cannot leak (invariant 7)."""
        return f"{self.name}-{self.uid}-{space_id}"

    def space(self, space_id: str) -> EmbeddingSpace:
        """A registered space. Raises `Gone` for one that was dropped."""
        for space in self.spaces:
            if space.id == space_id:
                return space
        raise Gone(f"Embedding space {space_id} of collection {self.name!r} was dropped; ask as of a later commit.", field="as_of")

    def has_space(self, space_id: str) -> bool:
        """Whether the space is registered."""
        return any(space.id == space_id for space in self.spaces)

    def build(self, space_id: str) -> Build | None:
        """The build of a space, if it has one."""
        return next((build for build in self.builds if build.space.id == space_id), None)

    def oldest(self, space_id: str) -> int:
        """The seq from which on commits are read from the space, if it is registered. One that was dropped and built again holds nothing of before."""
        build = self.build(space_id)
        return 0 if build is None else build.since or OPEN

    def holds(self, space_id: str, seq: int) -> bool:
        """Whether the commit `seq`, which was published in the space, can be read from it."""
        return self.has_space(space_id) and seq >= self.oldest(space_id)

    @property
    def unfinished(self) -> Build | None:
        """The build that is being prepared or filled; there is one at most."""
        return next((build for build in self.builds if build.state in UNFINISHED), None)

    def complete(self, space_id: str) -> bool:
        """Whether the space is registered and holds every document of the head, so that reads may go there."""
        build = self.build(space_id)
        return self.has_space(space_id) and (build is None or build.state == "ready")

    @property
    def indexes(self) -> tuple[str, ...]:
        """The names of all indexes that there may be: of registered spaces, and of those that come or go."""
        spaces = {space.id: None for space in (*self.spaces, *(build.space for build in self.builds))}
        return tuple(self.index_name(space_id) for space_id in spaces)


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
