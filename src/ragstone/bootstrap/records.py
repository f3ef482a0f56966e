"""What one database holds: SQLite or MongoDB."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.adapters.data_directory import DataDirectory
from ragstone.adapters.dependency import Dependency
from ragstone.adapters.file_staging import FileStaging
from ragstone.adapters.sqlite_acls import SqliteAcls
from ragstone.adapters.sqlite_audit import SqliteAuditLog
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.bootstrap.secrets import secret_of
from ragstone.ports.audit_log import AuditLog
from ragstone.ports.catalog import Catalog
from ragstone.ports.document_acls import DocumentAcls
from ragstone.ports.interaction_log import InteractionLog
from ragstone.ports.staging import Staging
from ragstone.ports.usage_meter import UsageMeter
from ragstone.settings import stores
from ragstone.use_cases.platform import Connection

_COUNTING = 1.0  # seconds that a request waits for its counts


@dataclass(frozen=True, slots=True)
class Records:
    """What one database holds."""

    catalog: Catalog
    staging: Staging
    interactions: InteractionLog
    audit: AuditLog
    acls: DocumentAcls
    meter: UsageMeter | None


def sqlite_records(data: DataDirectory, *, limited: bool) -> Records:
    """Of a data directory. `limited`: whether use is counted, in this process alone."""
    meter = None
    if limited:
        from ragstone.adapters.usage_limits import CountedUsage  # noqa: PLC0415 - not imported where nothing is limited

        meter = CountedUsage()
    return Records(
        SqliteCatalog(data.database),
        FileStaging(data.staging),
        SqliteInteractionLog(data.database),
        SqliteAuditLog(data.database),
        SqliteAcls(data.database),
        meter,
    )


def mongo_records(settings: stores.MongoCatalog, keep_days: float, connections: list[Connection], *, limited: bool) -> Records:
    """Of MongoDB, whose client is added to `connections`. `keep_days`: of interactions, 0 for ever. `limited`: whether use is counted, by all processes together."""
    from ragstone.adapters.mongo import MongoDatabase  # noqa: PLC0415
    from ragstone.adapters.mongo_acls import MongoAcls  # noqa: PLC0415
    from ragstone.adapters.mongo_audit import MongoAuditLog  # noqa: PLC0415
    from ragstone.adapters.mongo_catalog import MongoCatalog  # noqa: PLC0415
    from ragstone.adapters.mongo_errors import translated  # noqa: PLC0415
    from ragstone.adapters.mongo_interactions import MongoInteractionLog  # noqa: PLC0415
    from ragstone.adapters.mongo_staging import GridFsStaging  # noqa: PLC0415

    mongo = MongoDatabase(secret_of("catalog.uri", settings.uri, settings.uri_file), settings.database, pool=settings.pool)
    connections.append(mongo)

    def dependency(name: str, timeout: float) -> Dependency:
        return Dependency(name, timeout=timeout, concurrency=settings.pool, translate=translated)

    meter = None
    if limited:
        from ragstone.adapters.mongo_usage import MongoUsageStorage  # noqa: PLC0415
        from ragstone.adapters.usage_limits import CountedUsage  # noqa: PLC0415

        meter = CountedUsage(MongoUsageStorage(mongo, dependency("usage", min(_COUNTING, settings.timeout))))
    return Records(
        MongoCatalog(mongo, dependency("catalog", settings.timeout)),
        GridFsStaging(mongo, dependency("staging", 6 * settings.timeout)),
        MongoInteractionLog(mongo, dependency("interactions", settings.timeout), keep_days or None),
        MongoAuditLog(mongo, dependency("audit", settings.timeout)),
        MongoAcls(mongo, dependency("acls", settings.timeout)),
        meter,
    )
