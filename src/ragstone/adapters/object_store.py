"""The object store under the version store, and where backups go: S3 or a directory, through obstore."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from ragstone.adapters.dependency import Dependency
from ragstone.domain.errors import InvalidInput, NotFound, RagstoneError, Unavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Store
    from obstore.store import S3Credential

_PAGE = 1_000  # objects deleted at once
_PIECE = 4 * 2**20  # bytes


class ObjectStore:
    """Objects below one URL (`s3://bucket/prefix`, `file:///directory`). Every call goes through `dependency`, but for those that take as long as their content."""

    def __init__(self, url: str, dependency: Dependency, **options: Any) -> None:
        self.url = url.rstrip("/")
        self._dependency = dependency
        try:
            self._store: Store = (
                LocalStore(Path(self.url.removeprefix("file://"))) if self.url.startswith("file://") else from_url(self.url, **options)
            )
        except (BaseError, ValueError, OSError):
            raise InvalidInput("versions.object_store.url: it is not the address of an object store; use s3://bucket/prefix.") from None

    async def delete(self, keys: Sequence[str]) -> None:
        """Absent ones are fine."""
        for first in range(0, len(keys), _PAGE):
            page = list(keys[first : first + _PAGE])

            async def work(_: float, page: list[str] = page) -> None:
                try:
                    await obstore.delete_async(self._store, page)
                except FileNotFoundError:
                    for key in page:
                        await self._delete_one(key)

            await self._dependency.call(work, retry=True)

    async def put(self, key: str, content: AsyncIterable[bytes]) -> None:
        """Writes an object whole or not at all. Takes as long as the content does, so no time-out of a call counts."""
        try:
            await obstore.put_async(self._store, key, content)
        except BaseError as error:
            raise unanswered() from error

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of an object. Raises `NotFound`."""
        try:
            found = await obstore.get_async(self._store, key)
            async for piece in found.stream(min_chunk_size=_PIECE):
                yield bytes(piece)
        except FileNotFoundError:
            raise NotFound(f"There is no object {key[:200]!r}.", field="backup") from None
        except BaseError as error:
            raise unanswered() from error

    async def list(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        """Keys and sizes in bytes."""
        pages = aiter(obstore.list(self._store, prefix or None))
        while (page := await self._dependency.call(lambda _: anext(pages, None), retry=False)) is not None:
            for one in page:
                yield one["path"], one["size"]

    async def delete_all(self, address: str) -> None:
        """What lies below `address`. Raises `InvalidInput` when that is not below this URL."""
        prefix = self.key(address)
        if not prefix:
            raise InvalidInput(
                "versions.object_store.url: lakeFS keeps its objects elsewhere; name the same store there and in lakeFS.",
                field="versions.object_store.url",
            )
        await self.delete([key async for key, _ in self.list(prefix)])

    async def _delete_one(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, [key])
        except FileNotFoundError:
            return

    def key(self, address: str) -> str | None:
        """The key of what lies at `address` (as lakeFS gives it); None when that is not below this URL."""
        if address.startswith("local://") and not address.startswith("local:///"):  # lakeFS' local store, seen from its own directory
            return address.removeprefix("local://")
        here, there = self.url.removeprefix("file://"), address.removeprefix("local://")
        return there.removeprefix(here + "/") if there.startswith(here + "/") else None


def rotating(access_key_id: str, secret: Callable[[], str]) -> Callable[[], S3Credential]:
    """The key of now, for the option `credential_provider`. It is asked for ten times a second at most."""

    def key() -> S3Credential:
        soon = datetime.now(UTC) + timedelta(minutes=1)
        return {"access_key_id": access_key_id, "secret_access_key": secret(), "expires_at": soon}

    return key


def translate(error: Exception) -> RagstoneError | None:
    """None for what is no client's error."""
    return unanswered() if isinstance(error, BaseError) else None


def unanswered() -> Unavailable:
    """The error of a store that fails."""
    return Unavailable("The object store does not answer; try again.", field="object_store")
