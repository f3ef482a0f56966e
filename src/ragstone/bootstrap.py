"""Builds the platform: one match a port. The only module that knows every adapter."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragstone.adapters.container import usable_memory
from ragstone.adapters.data_directory import DataDirectory, open_data_directory, owner
from ragstone.adapters.dependency import Dependency
from ragstone.adapters.disk_space import DiskSpace
from ragstone.adapters.embedded_backup import EmbeddedBackup
from ragstone.adapters.embedding_cache import EmbeddingCache
from ragstone.adapters.extractive import ExtractiveGenerator
from ragstone.adapters.failpoints import SIDE_EFFECTS, VARIABLE, Failpoint, Failpoints, parse
from ragstone.adapters.file_staging import FileStaging
from ragstone.adapters.git import GitVersionStore
from ragstone.adapters.in_process_queue import InProcessJobQueue
from ragstone.adapters.key_file import KeyFile
from ragstone.adapters.model_store import ModelEntry, ModelStore
from ragstone.adapters.onnx_embedder import OnnxEmbedder
from ragstone.adapters.onnx_session import prepare
from ragstone.adapters.parsing.sandbox import ParserLimits, SubprocessParser
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.redacting_log import RedactingInteractionLog
from ragstone.adapters.secret_source import SecretSource
from ragstone.adapters.spooled_audit import SpooledAuditLog
from ragstone.adapters.spooled_log import Purges, SpooledInteractionLog
from ragstone.adapters.sqlite_acls import SqliteAcls
from ragstone.adapters.sqlite_audit import SqliteAuditLog
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_dead_letters import SqliteDeadLetters
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.adapters.sqlite_releases import SqliteReleaseRegistry, SqliteTracker
from ragstone.domain.errors import InvalidInput, RagstoneError
from ragstone.domain.redaction import Redaction
from ragstone.ports.audit_log import AuditLog
from ragstone.ports.authenticator import Authenticator
from ragstone.ports.catalog import Catalog
from ragstone.ports.dead_letters import DeadLetters
from ragstone.ports.document_acls import DocumentAcls
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.event_publisher import EventPublisher
from ragstone.ports.experiment_tracker import ExperimentTracker
from ragstone.ports.generator import Generator
from ragstone.ports.inbox import Inbox
from ragstone.ports.interaction_log import InteractionLog
from ragstone.ports.job_queue import JobQueue
from ragstone.ports.release_registry import ReleaseRegistry
from ragstone.ports.staging import Staging
from ragstone.ports.usage_meter import UsageMeter
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.settings import model as configured
from ragstone.settings import stores
from ragstone.settings.model import Settings
from ragstone.use_cases.answer import Answering
from ragstone.use_cases.answerability import Calibrations
from ragstone.use_cases.exclusive import Exclusive
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Adapters, Connection, Platform, assemble
from ragstone.use_cases.prompts import Prompts
from ragstone.use_cases.write_path import LEASE_TTL

if TYPE_CHECKING:
    from pydantic import SecretStr

    from ragstone.adapters.cluster_backup import ClusterBackup
    from ragstone.adapters.lakefs import LakeFsVersionStore
    from ragstone.adapters.object_store import ObjectStore
    from ragstone.adapters.qdrant_server import QdrantServerIndex

_DAY = 86_400.0  # seconds
_COUNTING = 1.0  # seconds that a request waits for its counts
_SHORTEST_LEASE = 30.0  # seconds
_SHORTEST = 16  # characters of a secret that signs
_AUDIT_SPOOL = 16 * 2**20  # bytes, some 80,000 entries
Announce = Callable[[str], None]  # tells a data directory's lock at which URL its owner answers


def model_store(settings: Settings) -> ModelStore:
    """The models on this machine."""
    return ModelStore(settings.models)


def prepare_model(settings: Settings, entry: ModelEntry) -> None:
    """Builds what an installed model needs beside its files, so that its cache may be read-only. Blocking. Raises `DataDirectoryError`."""
    if entry.path is not None:
        prepare(entry.path, model_store(settings).graphs)


def find_owner(settings: Settings) -> str | None:
    """The URL of the process that owns the data directory, if one runs and has announced itself."""
    running = owner(settings.data_dir)
    return running.url if running else None


def authenticator(settings: Settings) -> Authenticator | None:
    """Who knows the keys and tokens of the settings, None where there are none. Blocking. Raises `InvalidInput` for a file that can't be used."""
    keys = KeyFile(settings.api_keys_file) if settings.api_keys_file is not None else None
    if settings.oidc is None:
        return keys
    from ragstone.adapters.bearers import KeysAndTokens  # noqa: PLC0415 - cryptography and an HTTP client are slow to import

    tokens = _tokens(settings.oidc)
    return tokens if keys is None else KeysAndTokens(keys, tokens)


def _tokens(settings: configured.OidcSettings) -> Authenticator:
    from ragstone.adapters.oidc import OidcAuthenticator, TokenRules  # noqa: PLC0415
    from ragstone.adapters.oidc_keys import IssuerKeys  # noqa: PLC0415

    rules = TokenRules(
        issuer=settings.issuer,
        audience=settings.audience,
        algorithms=frozenset(settings.algorithms),
        skew=settings.clock_skew,
        name_claim=settings.name_claim,
        scopes_claim=settings.scopes_claim,
        scopes_prefix=settings.scopes_prefix,
        groups_claim=settings.groups_claim,
    )
    keys = IssuerKeys(
        settings.issuer,
        settings.jwks_url,
        keep=settings.keys_seconds,
        pause=settings.refresh_seconds,
        timeout=settings.timeout,
        most_bytes=settings.max_bytes,
    )
    return OidcAuthenticator(rules, keys)


def hook_secret(settings: Settings) -> Callable[[], str] | None:
    """What signs the messages of lakeFS' hook, asked for each time; None: no hook. Blocking. Raises `InvalidInput` for a file that can't be used."""
    lakefs = settings.versions
    if not isinstance(lakefs, stores.LakeFsVersions) or (lakefs.hook_secret is None and lakefs.hook_secret_file is None):
        return None
    secret = _secret("versions.hook_secret", lakefs.hook_secret, lakefs.hook_secret_file)
    if len(secret()) < _SHORTEST:
        raise InvalidInput(
            f"versions.hook_secret: it is shorter than {_SHORTEST} characters; `openssl rand -hex 32` makes one.", field="versions"
        )
    return secret


def embedding_model(settings: Settings) -> EmbeddingModel:
    """The model of the settings, loaded; a preset that is not here yet is fetched. Blocking. Raises `NotFound`, `InvalidInput`, `Unavailable`."""
    store = model_store(settings)
    return OnnxEmbedder(store.path(settings.model), graphs=store.graphs, threads=settings.threads or None)


def generator(settings: Settings, embedder: EmbeddingModel) -> Generator:
    """The generator of the settings. Raises `InvalidInput` for a key file that can't be read."""
    match settings.generator:
        case configured.ExtractiveGenerator():
            return ExtractiveGenerator(embedder)
        case configured.OpenAIGenerator() as openai:
            from ragstone.adapters.openai_generator import OpenAIGenerator  # noqa: PLC0415 - its HTTP client is slow to import

            return OpenAIGenerator(
                base_url=openai.base_url,
                model=openai.model,
                api_key=_secret("generator.api_key", openai.api_key, openai.api_key_file)
                if openai.api_key or openai.api_key_file
                else None,
                context_window=openai.context_window,
                first_token_timeout=openai.first_token_timeout,
                concurrency=openai.concurrency,
            )


def answering(settings: Settings, model: EmbeddingModel) -> Answering:
    """What answers with the settings' generator, and without it while it is down. Raises `InvalidInput` for a key file that can't be read."""
    remembered = EmbeddingCache(model)  # answers look at the same sentences again and again
    own = generator(settings, remembered)
    fallback = None if isinstance(own, ExtractiveGenerator) else ExtractiveGenerator(remembered)
    return Answering(remembered, own, Prompts(), Calibrations(), fallback)


def redaction(settings: configured.InteractionSettings) -> Redaction:
    """What is taken out of interactions before they are stored. Raises `InvalidInput` for an unknown field or a missing key."""
    key = b""
    if settings.redact_key_file is not None:
        try:
            key = settings.redact_key_file.read_bytes().strip()
        except OSError:
            name = "interactions.redact_key_file"
            raise InvalidInput(f"{name}: it can't be read; check its path and rights.", field=name) from None
    elif settings.redact_key is not None:
        key = settings.redact_key.get_secret_value().encode()
    return Redaction(settings.redact, key)


def interaction_log(
    settings: configured.InteractionSettings, log: InteractionLog, spool: Path, purges: Purges | None = None
) -> InteractionLog:
    """`log` behind its spool, and redaction before both. Raises what `redaction` raises."""
    spooled = SpooledInteractionLog(log, spool, settings.spool_bytes, purges=purges)
    spooled.start()
    rules = redaction(settings)
    return RedactingInteractionLog(spooled, rules) if rules.fields else spooled


def audit_log(log: AuditLog, spool: Path) -> AuditLog:
    """`log` behind its spool."""
    spooled = SpooledAuditLog(log, spool, _AUDIT_SPOOL)
    spooled.start()
    return spooled


@asynccontextmanager
async def open_platform(settings: Settings, *, embedder: EmbeddingModel | None = None) -> AsyncIterator[Platform]:
    """The embedded platform over the data directory, recovered and started; closed at the end.

    `embedder`: a model that is loaded already. Raises `DataDirectoryError` when another process owns the directory or it can't be used.
    """
    async with open_directory(settings, embedder=embedder) as (platform, _):
        yield platform


@asynccontextmanager
async def open_directory(settings: Settings, *, embedder: EmbeddingModel | None = None) -> AsyncIterator[tuple[Platform, Announce]]:
    """As `open_platform`, with the function that announces a URL."""
    armed = parse(os.environ.get(VARIABLE, ""))
    redaction(settings.interactions)  # refused before anything is touched
    data = open_data_directory(settings.data_dir)
    try:
        model = embedder if embedder is not None else await asyncio.to_thread(embedding_model, settings)
        adapters = _adapters(settings, data, model)
        if armed:
            adapters = _with_failpoints(adapters, armed)
        platform = assemble(
            adapters,
            answering(settings, model),
            Limits(**settings.limits.model_dump()),
            _holder(),
            keep_interactions=settings.interactions.keep_days * _DAY or None,
            shared=settings.shared,
            lease_ttl=_lease_ttl(settings),
        )
        try:
            await platform.start(work=settings.role != "api")
            yield platform, data.announce
        finally:
            await platform.close()
    finally:
        data.close()


def _adapters(settings: Settings, data: DataDirectory, model: EmbeddingModel) -> Adapters:
    """One adapter a port. Those of servers are imported only where they are used: they, and what they need, are an extra."""
    connections: list[Connection] = []
    match settings.catalog:
        case stores.SqliteCatalog():
            records = _sqlite(data, limited=settings.rate_limits.any)
        case stores.MongoCatalog() as mongo:
            records = _mongo(mongo, settings.interactions.keep_days, connections, limited=settings.rate_limits.any)
    versions: VersionStore
    inbox: Inbox | None = None
    match settings.versions:
        case stores.GitVersions():
            versions = GitVersionStore(data.versions)
        case stores.LakeFsVersions() as lakefs:
            versions = _lakefs(lakefs)
            inbox = versions.inbox
    index: VectorIndex
    match settings.index:
        case stores.EdgeIndex():
            index = QdrantEdgeIndex(data.index)
        case stores.QdrantIndex() as qdrant:
            index = _qdrant(qdrant)
    queue: JobQueue
    letters: DeadLetters
    events: EventPublisher | None = None
    match settings.queue:
        case stores.InProcessQueue():
            queue, letters = InProcessJobQueue(), SqliteDeadLetters(data.database)
        case stores.NatsQueue() as nats:
            queue, letters, events = _nats(nats, connections)
    tracker: ExperimentTracker | None = None
    registry: ReleaseRegistry | None = None
    match settings.tracking:
        case stores.MlflowTracking() as mlflow:
            from ragstone.adapters.mlflow_registry import MlflowReleaseRegistry  # noqa: PLC0415
            from ragstone.adapters.mlflow_tracking import MlflowTracker  # noqa: PLC0415

            tracker, registry = MlflowTracker(mlflow.uri), MlflowReleaseRegistry(mlflow.uri)
        case stores.NoTracking() if isinstance(settings.catalog, stores.SqliteCatalog):
            tracker, registry = SqliteTracker(data.database), SqliteReleaseRegistry(data.database)
    embedded = isinstance(records.catalog, SqliteCatalog) and isinstance(versions, GitVersionStore) and isinstance(index, QdrantEdgeIndex)
    return Adapters(
        catalog=records.catalog,
        versions=versions,
        index=index,
        staging=records.staging,
        queue=queue,
        parser=SubprocessParser(ParserLimits.within(usable_memory())),
        embedder=model,
        interactions=interaction_log(settings.interactions, records.interactions, data.spool, records.catalog.purges),
        dead_letters=letters,
        events=events,
        audit=audit_log(records.audit, data.spool) if settings.role != "worker" else None,
        meter=records.meter,
        inbox=inbox,
        acls=records.acls,
        tracker=tracker,
        registry=registry,
        storage=DiskSpace(settings.data_dir) if embedded else None,
        backup=EmbeddedBackup(data, versions, index) if embedded else None,  # type: ignore[arg-type]
        connections=tuple(connections),
    )


@dataclass(frozen=True, slots=True)
class _Records:
    """What one database holds."""

    catalog: Catalog
    staging: Staging
    interactions: InteractionLog
    audit: AuditLog
    acls: DocumentAcls
    meter: UsageMeter | None


def _sqlite(data: DataDirectory, *, limited: bool) -> _Records:
    meter = None
    if limited:
        from ragstone.adapters.usage_limits import CountedUsage  # noqa: PLC0415 - not imported where nothing is limited

        meter = CountedUsage()
    return _Records(
        SqliteCatalog(data.database),
        FileStaging(data.staging),
        SqliteInteractionLog(data.database),
        SqliteAuditLog(data.database),
        SqliteAcls(data.database),
        meter,
    )


def _mongo(settings: stores.MongoCatalog, keep_days: float, connections: list[Connection], *, limited: bool) -> _Records:
    from ragstone.adapters.mongo import MongoDatabase  # noqa: PLC0415
    from ragstone.adapters.mongo_acls import MongoAcls  # noqa: PLC0415
    from ragstone.adapters.mongo_audit import MongoAuditLog  # noqa: PLC0415
    from ragstone.adapters.mongo_catalog import MongoCatalog  # noqa: PLC0415
    from ragstone.adapters.mongo_errors import translated  # noqa: PLC0415
    from ragstone.adapters.mongo_interactions import MongoInteractionLog  # noqa: PLC0415
    from ragstone.adapters.mongo_staging import GridFsStaging  # noqa: PLC0415

    mongo = MongoDatabase(_secret("catalog.uri", settings.uri, settings.uri_file), settings.database, pool=settings.pool)
    connections.append(mongo)

    def dependency(name: str, timeout: float) -> Dependency:
        return Dependency(name, timeout=timeout, concurrency=settings.pool, translate=translated)

    meter = None
    if limited:
        from ragstone.adapters.mongo_usage import MongoUsageStorage  # noqa: PLC0415
        from ragstone.adapters.usage_limits import CountedUsage  # noqa: PLC0415

        meter = CountedUsage(MongoUsageStorage(mongo, dependency("usage", min(_COUNTING, settings.timeout))))
    return _Records(
        MongoCatalog(mongo, dependency("catalog", settings.timeout)),
        GridFsStaging(mongo, dependency("staging", 6 * settings.timeout)),
        MongoInteractionLog(mongo, dependency("interactions", settings.timeout), keep_days or None),
        MongoAuditLog(mongo, dependency("audit", settings.timeout)),
        MongoAcls(mongo, dependency("acls", settings.timeout)),
        meter,
    )


def _lakefs(settings: stores.LakeFsVersions) -> LakeFsVersionStore:
    from ragstone.adapters.lakefs import LakeFsVersionStore  # noqa: PLC0415
    from ragstone.adapters.lakefs_client import LakeFsClient  # noqa: PLC0415
    from ragstone.adapters.lakefs_errors import translate  # noqa: PLC0415

    dependency = Dependency("versions", timeout=settings.timeout, concurrency=settings.concurrency, translate=translate)
    client = LakeFsClient(settings.endpoint, settings.access_key_id, _lakefs_secret(settings), dependency, concurrency=settings.concurrency)
    objects = object_store("versions.object_store", settings.object_store) if settings.object_store else None
    return LakeFsVersionStore(client, namespace=settings.storage_namespace, prefix=settings.repository_prefix, objects=objects)


def _qdrant(settings: stores.QdrantIndex) -> QdrantServerIndex:
    from ragstone.adapters.qdrant_server import QdrantServerIndex  # noqa: PLC0415
    from ragstone.adapters.qdrant_server_connection import QdrantServer  # noqa: PLC0415
    from ragstone.adapters.qdrant_server_errors import translate  # noqa: PLC0415

    has_key = settings.api_key is not None or settings.api_key_file is not None
    server = QdrantServer(
        url=settings.url,
        grpc_port=settings.grpc_port,
        api_key=_secret("index.api_key", settings.api_key, settings.api_key_file) if has_key else None,
        prefix=settings.prefix,
        replication_factor=settings.replication_factor,
        shard_number=settings.shard_number,
        write_consistency=settings.write_consistency,
        read_consistency=settings.read_consistency,
        quantisation=settings.quantisation,
        on_disk=settings.on_disk,
        timeout=settings.timeout,
    )
    dependency = Dependency("index", timeout=settings.timeout, concurrency=settings.concurrency, translate=translate)
    return QdrantServerIndex(server, dependency)


def _nats(settings: stores.NatsQueue, connections: list[Connection]) -> tuple[JobQueue, DeadLetters, EventPublisher]:
    from ragstone.adapters.nats import NatsConnection, NatsServer  # noqa: PLC0415
    from ragstone.adapters.nats_dead_letters import NatsDeadLetters  # noqa: PLC0415
    from ragstone.adapters.nats_events import NatsEventPublisher  # noqa: PLC0415
    from ragstone.adapters.nats_names import Names  # noqa: PLC0415
    from ragstone.adapters.nats_queue import NatsJobQueue  # noqa: PLC0415

    has_password = settings.password is not None or settings.password_file is not None
    server = NatsServer(
        settings.url,
        user=(lambda: settings.user or "") if settings.user else None,
        password=_secret("queue.password", settings.password, settings.password_file) if has_password else None,
        credentials_file=settings.credentials_file,
        timeout=settings.timeout,
    )
    names = Names(settings.stream_prefix, settings.replicas)
    connection = NatsConnection(server, (names.jobs, names.dead, names.events))
    connections.append(connection)
    queue = NatsJobQueue(connection, names, parallel=settings.parallel, tries=settings.max_deliver, ack_wait=settings.ack_wait)
    return queue, NatsDeadLetters(connection, names), NatsEventPublisher(connection, names)


def object_store(name: str, settings: stores.ObjectStoreSettings) -> ObjectStore:
    """The object store of a section of the settings, by whose name its errors go. Raises `InvalidInput`."""
    from ragstone.adapters.object_store import ObjectStore, rotating, translate  # noqa: PLC0415

    options: dict[str, Any] = {}
    if settings.endpoint:
        options |= {"endpoint": settings.endpoint, "client_options": {"allow_http": settings.endpoint.startswith("http://")}}
    if settings.region:
        options["region"] = settings.region
    if settings.secret_access_key is not None or settings.secret_access_key_file is not None:
        secret = _secret(f"{name}.secret_access_key", settings.secret_access_key, settings.secret_access_key_file)
        options["credential_provider"] = rotating(settings.access_key_id or "", secret)
    return ObjectStore(settings.url, Dependency("objects", timeout=60.0, concurrency=16, translate=translate), **options)


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
    database = MongoDatabase(_secret("catalog.uri", mongo.uri, mongo.uri_file), mongo.database)
    dependency = Dependency("catalog", timeout=mongo.timeout * 6, concurrency=8, translate=translated)
    versions = LakeFsDump(lakefs.endpoint, lakefs.access_key_id, _lakefs_secret(lakefs), lakefs.repository_prefix)
    index = _qdrant(qdrant)
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
        yield backup, Exclusive(catalog, _holder(), shared=True)
    finally:
        await index.aclose()
        await versions.close()
        await database.close()


def _lakefs_secret(settings: stores.LakeFsVersions) -> SecretSource:
    return _secret("versions.secret_access_key", settings.secret_access_key, settings.secret_access_key_file)


def _lease_ttl(settings: Settings) -> float:
    """A job is given to another worker when nothing was heard of its own for so long; a lease has to outlast an index request by far."""
    queue = settings.queue
    return max(_SHORTEST_LEASE, queue.ack_wait) if isinstance(queue, stores.NatsQueue) else LEASE_TTL


def _holder() -> str:
    """Names this process in leases and locks."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _secret(name: str, value: SecretStr | None, file: Path | None) -> SecretSource:
    return SecretSource(name, value=value.get_secret_value() if value else None, file=file)


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

    mongo = MongoDatabase(_secret("catalog.uri", settings.uri, settings.uri_file), settings.database)
    try:  # whatever is asked first migrates
        await MongoCatalog(mongo, Dependency("catalog", timeout=600.0, concurrency=1, translate=translated)).collections()
    finally:
        await mongo.close()


def _with_failpoints(adapters: Adapters, armed: Sequence[Failpoint]) -> Adapters:
    failpoints = Failpoints(armed)
    return replace(adapters, **{port: failpoints.wrap(port, getattr(adapters, port)) for port in SIDE_EFFECTS})
