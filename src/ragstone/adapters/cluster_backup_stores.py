"""What a backup of a cluster asks of the stores that it copies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from ragstone.adapters.cluster_backup_manifest import BackedUp, Refs
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit


@dataclass(frozen=True, slots=True)
class Known:
    """A collection as the copied catalog has it. `attempts`: how many there have been."""

    collection: Collection
    head: Commit | None
    attempts: int


class Moment(Protocol):
    """The database as it was at one moment."""

    @property
    def collections(self) -> Sequence[Known]: ...

    def files(self) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """Name and content of each file, to be read in order."""
        ...


class Database(Protocol):
    """The catalog and the log, as files."""

    async def names(self) -> list[str]:
        """Of the collections that there are."""
        ...

    def moment(self) -> AbstractAsyncContextManager[Moment]: ...

    async def attempts(self) -> dict[str, int]:
        """By a collection's uid, how many attempts there have been by now."""
        ...

    async def ensure_empty(self) -> None:
        """Raises `Conflict` when the database holds a collection of documents."""
        ...

    async def load(self, name: str, content: AsyncIterable[bytes]) -> None:
        """Reads one file back, in place of what a restore that was cut short has left. Raises `DataDirectoryError` for one that is none of ours."""
        ...

    async def finish(self) -> None:
        """Jobs that were not done have failed: their bytes are not in the backup. Nobody holds a lease. Their Idempotency-Keys are free."""
        ...


class Repositories(Protocol):
    """The version store's, a collection each."""

    async def namespace(self, repo: str) -> str | None:
        """Where the repository of a collection keeps its objects; None when there is none."""
        ...

    async def dump(self, repo: str) -> Refs:
        """Writes the refs of now into the repository's namespace."""
        ...

    async def restore(self, one: BackedUp) -> None:
        """Makes the repository over the objects that are in its namespace already. `main` is where the head was, and branches of later attempts are gone.

        What a restore that was cut short has made is finished. Raises `Conflict` when there is another repository of that name.
        """
        ...


class IndexSnapshots(Protocol):
    """Of the vector index."""

    def snapshot(self, index: str) -> AsyncGenerator[bytes, None]:
        """The bytes of the index as it is between two writes."""
        ...

    async def restore(self, index: str, content: AsyncIterable[bytes]) -> None:
        """Makes the index what the snapshot holds, in one step."""
        ...
