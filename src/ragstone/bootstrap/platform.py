"""The platform of the settings: one match a port."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from ragstone.adapters.container import usable_memory
from ragstone.adapters.data_directory import DataDirectory, open_data_directory, owner
from ragstone.adapters.disk_space import DiskSpace
from ragstone.adapters.embedded_backup import EmbeddedBackup
from ragstone.adapters.failpoints import SIDE_EFFECTS, VARIABLE, Failpoint, Failpoints, parse
from ragstone.adapters.git import GitVersionStore
from ragstone.adapters.in_process_queue import InProcessJobQueue
from ragstone.adapters.parsing.sandbox import ParserLimits, SubprocessParser
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_dead_letters import SqliteDeadLetters
from ragstone.adapters.sqlite_releases import SqliteReleaseRegistry, SqliteTracker
from ragstone.bootstrap.bulk import bulk_parts, bulk_settings
from ragstone.bootstrap.logs import audit_log, interaction_log, redaction
from ragstone.bootstrap.models import answering, embedding_model, further_models, reranker
from ragstone.bootstrap.records import mongo_records, sqlite_records
from ragstone.bootstrap.servers import lakefs_versions, nats_queue, qdrant_index
from ragstone.ports.dead_letters import DeadLetters
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.event_publisher import EventPublisher
from ragstone.ports.experiment_tracker import ExperimentTracker
from ragstone.ports.inbox import Inbox
from ragstone.ports.job_queue import JobQueue
from ragstone.ports.release_registry import ReleaseRegistry
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.settings import embedders, stores
from ragstone.settings.model import Settings
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Adapters, Connection, Platform, assemble
from ragstone.use_cases.write_path import LEASE_TTL

_DAY = 86_400.0  # seconds
_SHORTEST_LEASE = 30.0  # seconds
Announce = Callable[[str], None]  # tells a data directory's lock at which URL its owner answers


def find_owner(settings: Settings) -> str | None:
    """The URL of the process that owns the data directory, if one runs and has announced itself."""
    running = owner(settings.data_dir)
    return running.url if running else None


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
        further = await asyncio.to_thread(further_models, settings)
        ranker = await asyncio.to_thread(reranker, settings) if settings.role != "worker" else None  # a worker answers no questions
        answers, held = await asyncio.to_thread(answering, settings, model, further)
        adapters = _adapters(settings, data, model, further)
        adapters = replace(adapters, reranker=ranker, connections=(*adapters.connections, *held))
        if armed:
            adapters = _with_failpoints(adapters, armed)
        platform = assemble(
            adapters,
            answers,
            Limits(**settings.limits.model_dump()),
            holder(),
            keep_interactions=settings.interactions.keep_days * _DAY or None,
            keep_spaces=settings.spaces.keep_days * _DAY,
            shared=settings.shared,
            lease_ttl=_lease_ttl(settings),
            bulk=bulk_settings(settings),
        )
        try:
            await platform.start(work=settings.role != "api")
            yield platform, data.announce
        finally:
            await platform.close()
    finally:
        data.close()


def _adapters(settings: Settings, data: DataDirectory, model: EmbeddingModel, further: tuple[EmbeddingModel, ...]) -> Adapters:
    """One adapter a port. Those of servers are imported only where they are used: they, and what they need, are an extra."""
    connections: list[Connection] = []
    if not isinstance(settings.embedder, embedders.OnnxEmbedder):
        from ragstone.adapters.openai_embedder import OpenAIEmbedder  # noqa: PLC0415

        if isinstance(model, OpenAIEmbedder):
            connections.append(model)
    match settings.catalog:
        case stores.SqliteCatalog():
            records = sqlite_records(data, limited=settings.rate_limits.any)
        case stores.MongoCatalog() as mongo:
            records = mongo_records(mongo, settings.interactions.keep_days, connections, limited=settings.rate_limits.any)
    versions: VersionStore
    inbox: Inbox | None = None
    match settings.versions:
        case stores.GitVersions():
            versions = GitVersionStore(data.versions)
        case stores.LakeFsVersions() as lakefs:
            versions = lakefs_versions(lakefs)
            inbox = versions.inbox
    index: VectorIndex
    match settings.index:
        case stores.EdgeIndex():
            index = QdrantEdgeIndex(data.index)
        case stores.QdrantIndex() as qdrant:
            index = qdrant_index(qdrant)
    queue: JobQueue
    letters: DeadLetters
    events: EventPublisher | None = None
    match settings.queue:
        case stores.InProcessQueue():
            queue, letters = InProcessJobQueue(), SqliteDeadLetters(data.database)
        case stores.NatsQueue() as nats:
            queue, letters, events = nats_queue(nats, connections)
    tracker: ExperimentTracker | None = None
    registry: ReleaseRegistry | None = None
    match settings.tracking:
        case stores.MlflowTracking() as mlflow:
            from ragstone.adapters.mlflow_registry import MlflowReleaseRegistry  # noqa: PLC0415
            from ragstone.adapters.mlflow_tracking import MlflowTracker  # noqa: PLC0415

            tracker, registry = MlflowTracker(mlflow.uri), MlflowReleaseRegistry(mlflow.uri)
        case stores.NoTracking() if isinstance(settings.catalog, stores.SqliteCatalog):
            tracker, registry = SqliteTracker(data.database), SqliteReleaseRegistry(data.database)
    stage, runner = bulk_parts(settings, connections)
    embedded = isinstance(records.catalog, SqliteCatalog) and isinstance(versions, GitVersionStore) and isinstance(index, QdrantEdgeIndex)
    return Adapters(
        catalog=records.catalog,
        versions=versions,
        index=index,
        staging=records.staging,
        queue=queue,
        parser=SubprocessParser(ParserLimits.within(usable_memory())),
        embedder=model,
        further=further,
        interactions=interaction_log(settings.interactions, records.interactions, data.spool, records.catalog.purges),
        dead_letters=letters,
        events=events,
        audit=audit_log(records.audit, data.spool) if settings.role != "worker" else None,
        meter=records.meter,
        inbox=inbox,
        acls=records.acls,
        tracker=tracker,
        registry=registry,
        bulk_stage=stage,
        bulk_runner=runner,
        storage=DiskSpace(settings.data_dir) if embedded else None,
        backup=EmbeddedBackup(data, versions, index) if embedded else None,  # type: ignore[arg-type]
        connections=tuple(connections),
    )


def holder() -> str:
    """Names this process in leases and locks."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _lease_ttl(settings: Settings) -> float:
    """A job is given to another worker when nothing was heard of its own for so long; a lease has to outlast an index request by far."""
    queue = settings.queue
    return max(_SHORTEST_LEASE, queue.ack_wait) if isinstance(queue, stores.NatsQueue) else LEASE_TTL


def _with_failpoints(adapters: Adapters, armed: Sequence[Failpoint]) -> Adapters:
    failpoints = Failpoints(armed)
    wrapped = {port: failpoints.wrap(port, getattr(adapters, port)) for port in SIDE_EFFECTS}
    return replace(adapters, further=tuple(failpoints.wrap("embedder", model) for model in adapters.further), **wrapped)
