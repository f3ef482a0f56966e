"""What is done to a platform from outside: formats brought up to date, a cluster backed up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ragstone.adapters.data_directory import open_data_directory
from ragstone.adapters.dependency import Dependency
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.bootstrap.platform import holder
from ragstone.bootstrap.secrets import secret_of
from ragstone.bootstrap.servers import lakefs_secret, object_store, qdrant_index
from ragstone.domain.errors import InvalidInput, RagstoneError
from ragstone.settings import stores
from ragstone.settings.model import Settings
from ragstone.use_cases.exclusive import Exclusive

if TYPE_CHECKING:
    from ragstone.adapters.cluster_backup import ClusterBackup


async def migrate(settings: Settings) -> list[str]:
    """Brings the data directory, its database and its indexes to this release's formats, and makes what is not there; needs no model.

    Done again it changes nothing. Returns the indexes that could not be opened: they are for the doctor. Raises `DataDirectoryError` when
    another process owns the directory or a newer release made it.
    """
    if isinstance(settings.catalog, stores.MongoCatalog):
        await _migrate_mongo(settings.catalog)
        return []
    data = open_data_directory(settings.data_dir)
    try:
        await SqliteCatalog(data.database).close()
        index = QdrantEdgeIndex(data.index)
        try:
            damaged: list[str] = []
            for name in await index.names():
                try:
                    await index.flush(name)
                except RagstoneError:
                    damaged.append(name)
            return damaged
        finally:
            await index.aclose()
    finally:
        data.close()


async def _migrate_mongo(settings: stores.MongoCatalog) -> None:
    from ragstone.adapters.mongo import MongoDatabase  # noqa: PLC0415
    from ragstone.adapters.mongo_catalog import MongoCatalog  # noqa: PLC0415
    from ragstone.adapters.mongo_errors import translated  # noqa: PLC0415

    mongo = MongoDatabase(secret_of("catalog.uri", settings.uri, settings.uri_file), settings.database)
    try:  # whatever is asked first migrates
        await MongoCatalog(mongo, Dependency("catalog", timeout=600.0, concurrency=1, translate=translated)).collections()
    finally:
        await mongo.close()


@asynccontextmanager
async def cluster_backup(settings: Settings) -> AsyncIterator[tuple[ClusterBackup, Exclusive]]:
    """Backups of the servers that the settings name, and the turns of their collections. Raises `InvalidInput` where that is not a cluster, or nowhere to put them."""
    from ragstone.adapters.cluster_backup import ClusterBackup  # noqa: PLC0415
    from ragstone.adapters.lakefs_backup import LakeFsDump  # noqa: PLC0415
    from ragstone.adapters.mongo import MongoDatabase  # noqa: PLC0415
    from ragstone.adapters.mongo_backup import MongoDump  # noqa: PLC0415
    from ragstone.adapters.mongo_catalog import MongoCatalog  # noqa: PLC0415
    from ragstone.adapters.mongo_errors import translated  # noqa: PLC0415

    mongo, lakefs, qdrant = settings.catalog, settings.versions, settings.index
    if not (
        isinstance(mongo, stores.MongoCatalog) and isinstance(lakefs, stores.LakeFsVersions) and isinstance(qdrant, stores.QdrantIndex)
    ):
        raise InvalidInput(
            "catalog, versions, index: they are not MongoDB, lakeFS and Qdrant; back up a data directory with `ragstone backup`.",
            field="catalog",
        )
    if settings.backup is None or lakefs.object_store is None:
        missing = "backup.url" if settings.backup is None else "versions.object_store.url"
        raise InvalidInput(f"{missing}: it is not set; backups need the store under lakeFS and a place to be put.", field=missing)
    database = MongoDatabase(secret_of("catalog.uri", mongo.uri, mongo.uri_file), mongo.database)
    dependency = Dependency("catalog", timeout=mongo.timeout * 6, concurrency=8, translate=translated)
    versions = LakeFsDump(lakefs.endpoint, lakefs.access_key_id, lakefs_secret(lakefs), lakefs.repository_prefix)
    index = qdrant_index(qdrant)
    try:
        catalog = MongoCatalog(database, dependency)
        backup = ClusterBackup(
            MongoDump(database, dependency),
            versions,
            index,
            index.snapshots,
            object_store("versions.object_store", lakefs.object_store),
            object_store("backup", settings.backup),
        )
        yield backup, Exclusive(catalog, holder(), shared=True)
    finally:
        await index.aclose()
        await versions.close()
        await database.close()
