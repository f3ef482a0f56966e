"""Making, listing and removing collections."""

from __future__ import annotations

import asyncio

from ragstone.domain.collections import Collection
from ragstone.domain.names import check_collection_name
from ragstone.ports.catalog import Catalog
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.snapshots import Snapshots
from ragstone.use_cases.spaces import Spaces
from ragstone.use_cases.visibility import Visibility


class Collections:
    """A collection is its catalog entry, a repository and one index for each of its spaces."""

    def __init__(
        self, catalog: Catalog, versions: VersionStore, index: VectorIndex, spaces: Spaces, snapshots: Snapshots, visibility: Visibility
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._spaces = spaces
        self._snapshots = snapshots
        self._visibility = visibility

    async def create(self, name: str, language: str = "english", description: str = "") -> Collection:
        """Makes an empty collection. Raises `InvalidInput` for a bad name or language, `Conflict` when the name is taken."""
        space = self._spaces.current(language)
        collection = await self._catalog.create_collection(check_collection_name(name), language, description, space)
        try:
            await self._versions.create(collection.uid)
            await self._index.create(collection.index_name(space.id), space)
        except BaseException:  # half a collection would refuse every document
            await asyncio.shield(self.delete(name))
            raise
        return collection

    async def ensure(self, name: str, language: str = "english") -> Collection:
        """The collection, made if it is not there."""
        for collection in await self._catalog.collections():
            if collection.name == name:
                return collection
        return await self.create(name, language)

    async def get(self, name: str) -> Collection:
        """Raises `NotFound`."""
        return await self._catalog.collection(name)

    async def all(self) -> list[Collection]:
        """In order of name."""
        return await self._catalog.collections()

    async def delete(self, name: str) -> None:
        """Removes a collection with its whole history. Raises `NotFound`."""
        collection = await self._catalog.delete_collection(name)
        self._snapshots.forget(name)
        for index in collection.indexes:
            await self._index.drop(index)
        await self._versions.delete(collection.uid)
        await self._visibility.drop(collection.uid)
