"""The use cases of one running platform, as entry points get them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ragstone.domain.jobs import Job
from ragstone.domain.spaces import ChunkerSettings
from ragstone.ports.audit_log import AuditLog
from ragstone.ports.backup import Backup
from ragstone.ports.bulk_runner import BulkRunner
from ragstone.ports.bulk_stage import BulkStage
from ragstone.ports.catalog import Catalog
from ragstone.ports.dead_letters import DeadLetters
from ragstone.ports.document_acls import DocumentAcls
from ragstone.ports.document_parser import DocumentParser
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.event_publisher import EventPublisher
from ragstone.ports.experiment_tracker import ExperimentTracker
from ragstone.ports.inbox import Inbox
from ragstone.ports.interaction_log import InteractionLog
from ragstone.ports.job_queue import JobQueue
from ragstone.ports.release_registry import ReleaseRegistry
from ragstone.ports.reranker import Reranker
from ragstone.ports.staging import Staging
from ragstone.ports.storage import Storage
from ragstone.ports.usage_meter import UsageMeter
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.answer import Answering
from ragstone.use_cases.backup import Backups
from ragstone.use_cases.build_jobs import BuildJobs
from ragstone.use_cases.bulk import BulkEmbedding, BulkSettings
from ragstone.use_cases.bulk_jobs import BulkJobs
from ragstone.use_cases.collections import Collections
from ragstone.use_cases.commit_relay import CommitRelay
from ragstone.use_cases.dead_letters import DeadLetterOffice
from ragstone.use_cases.doctor.doctor import Doctor
from ragstone.use_cases.doctor.stores import Stores
from ragstone.use_cases.documents import Documents
from ragstone.use_cases.erasure import Erasure
from ragstone.use_cases.events import Events
from ragstone.use_cases.exclusive import Exclusive
from ragstone.use_cases.history import History
from ragstone.use_cases.housekeeping import Housekeeping
from ragstone.use_cases.impact import Impact
from ragstone.use_cases.inbox import Inboxes
from ragstone.use_cases.ingest import Ingest
from ragstone.use_cases.jobs import Jobs
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.logged_interactions import LoggedInteractions
from ragstone.use_cases.maintenance import Maintenance
from ragstone.use_cases.progress import ProgressBoard
from ragstone.use_cases.query import Query
from ragstone.use_cases.recovery import Recovery
from ragstone.use_cases.reembedding import KEEP, Reembedding
from ragstone.use_cases.replay import Replay
from ragstone.use_cases.retention import GRACE, Retention
from ragstone.use_cases.search import Search
from ragstone.use_cases.snapshots import Snapshots
from ragstone.use_cases.space_builder import SpaceBuilder
from ragstone.use_cases.space_filler import SpaceFiller
from ragstone.use_cases.spaces import Spaces
from ragstone.use_cases.sweeper import Sweeper
from ragstone.use_cases.tracking import Tracking
from ragstone.use_cases.turns import Turns
from ragstone.use_cases.visibility import Visibility
from ragstone.use_cases.write_path import LEASE_TTL, WritePath


@runtime_checkable
class Connection(Protocol):
    """Something to close."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Adapters:
    """One adapter a port."""

    catalog: Catalog
    versions: VersionStore
    index: VectorIndex
    staging: Staging
    queue: JobQueue
    parser: DocumentParser
    embedder: EmbeddingModel
    interactions: InteractionLog
    dead_letters: DeadLetters
    acls: DocumentAcls
    further: tuple[EmbeddingModel, ...] = ()  # models of spaces that are being built, or that earlier commits are read from
    reranker: Reranker | None = None  # None: passages stay in the order of their fused scores
    events: EventPublisher | None = None  # None: nobody is told
    inbox: Inbox | None = None  # None where people can't put documents into the version store
    audit: AuditLog | None = None  # None where nobody comes in: a process without an API
    meter: UsageMeter | None = None  # None where nothing is limited
    tracker: ExperimentTracker | None = None  # None: nobody records runs
    registry: ReleaseRegistry | None = None
    bulk_stage: BulkStage | None = None  # None: whoever writes chunks embeds them
    bulk_runner: BulkRunner | None = None  # None beside a stage: this process only tells how far others are
    storage: Storage | None = None  # None where the space is nobody's business here
    backup: Backup | None = None  # None where the stores are servers: `cluster_backup`
    connections: tuple[Connection, ...] = ()  # what adapters share, closed after them


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything that a service or the CLI may do. `start` before use, `close` after."""

    collections: Collections
    ingest: Ingest
    documents: Documents
    history: History
    query: Query
    answering: Answering
    search: Search
    snapshots: Snapshots
    interactions: InteractionLog
    logged: LoggedInteractions
    jobs: Jobs
    visibility: Visibility
    embedder: EmbeddingModel
    limits: Limits
    adapters: Adapters
    recovery: Recovery
    write_path: WritePath
    maintenance: Maintenance
    backups: Backups
    retention: Retention
    erasure: Erasure
    sweeper: Sweeper
    doctor: Doctor
    housekeeping: Housekeeping
    replay: Replay
    impact: Impact
    dead_letters: DeadLetterOffice
    reembedding: Reembedding
    builder: SpaceBuilder
    inboxes: Inboxes | None
    relays: tuple[CommitRelay, ...]

    async def start(self, *, work: bool = True) -> list[Job]:
        """Recovers what an earlier process left, starts the worker, and queues what waits; returns those jobs.

        `work` False: this process takes no jobs and leaves the stores' upkeep to those that do.
        """
        if not work:
            return []
        jobs = await self.recovery.start()
        await self.adapters.queue.start(self._handle, self.dead_letters.give_up)
        for job in jobs:
            await self.ingest.enqueue(job)
        self.maintenance.background("unfinished purges", self.erasure.resume())
        self.sweeper.start()
        self.housekeeping.start()
        self.builder.start()
        for relay in self.relays:
            relay.start()
        return jobs

    async def drain(self, grace: float = 10.0) -> None:
        """Stops the worker: running jobs get `grace` seconds, then go back to the queue. Whoever waits for one is told how far it is."""
        await self.sweeper.stop()
        await self.builder.stop()
        for relay in self.relays:
            await relay.stop()
        await self.adapters.queue.stop(grace)
        self.ingest.end_waits()

    async def close(self, grace: float = 10.0) -> None:
        """Drains, then closes every adapter."""
        adapters = self.adapters
        await self.drain(grace)
        await self.housekeeping.stop()
        await self.maintenance.stop()
        await adapters.parser.close()
        await adapters.index.aclose()
        await adapters.versions.close()
        await adapters.interactions.close()
        await adapters.dead_letters.close()
        await adapters.acls.close()
        for optional in (
            adapters.bulk_runner,
            adapters.reranker,
            adapters.audit,
            adapters.meter,
            adapters.tracker,
            adapters.registry,
            adapters.events,
        ):
            if optional is not None:
                await optional.close()
        await adapters.catalog.close()
        for connection in adapters.connections:
            await connection.close()

    async def _handle(self, collection: str, job_id: str) -> None:
        await self.write_path.run(collection, job_id)
        await self.recovery.clean(collection)


def assemble(
    adapters: Adapters,
    answering: Answering,
    limits: Limits,
    holder: str,
    chunker: ChunkerSettings | None = None,
    *,
    keep_interactions: float | None = None,
    keep_spaces: float = KEEP,
    shared: bool = False,
    lease_ttl: float = LEASE_TTL,
    bulk: BulkSettings | None = None,
) -> Platform:
    """Builds the use cases. `keep_interactions`: seconds, None for ever. `keep_spaces`: see `Reembedding`. `shared`: other processes may work over the same stores. `lease_ttl`: see `WritePath`."""
    snapshots = Snapshots(adapters.catalog)
    visibility = Visibility(adapters.acls, adapters.catalog, adapters.index)
    logged = LoggedInteractions(adapters.interactions, adapters.catalog, visibility)
    spaces = Spaces(adapters.embedder, adapters.parser.versions, chunker or ChunkerSettings(), adapters.further)
    search = Search(adapters.index, answering.embedder, adapters.reranker, answering.further)
    grace = GRACE + limits.request_seconds if shared else GRACE
    progress = ProgressBoard()
    writers = Turns()
    turns = Exclusive(adapters.catalog, holder, shared=shared)
    maintenance = Maintenance(adapters.index, snapshots, turns)
    shards = BulkEmbedding(adapters.bulk_stage, adapters.bulk_runner, bulk or BulkSettings()) if adapters.bulk_stage is not None else None
    builds = BuildJobs(adapters.catalog, progress, shards)
    letters = DeadLetterOffice(adapters.catalog, adapters.staging, adapters.dead_letters, adapters.queue, progress, holder)
    recovery = Recovery(
        adapters.catalog, adapters.versions, adapters.index, adapters.staging, letters, shared=shared, turns=writers, bulk=shards
    )
    ingest = Ingest(
        adapters.catalog,
        adapters.versions,
        adapters.index,
        adapters.staging,
        adapters.queue,
        adapters.parser,
        spaces,
        progress,
        limits,
        visibility,
        snapshots,
    )
    erasure = Erasure(
        adapters.catalog, adapters.versions, adapters.index, adapters.interactions, ingest, snapshots, maintenance, letters, shards
    )
    stores = Stores(
        adapters.catalog, adapters.versions, adapters.index, adapters.staging, adapters.queue, progress, recovery, adapters.storage
    )
    filler = SpaceFiller(adapters.catalog, adapters.versions, adapters.index, spaces, visibility, writers, holder, bulk=shards)
    builder = SpaceBuilder(adapters.catalog, adapters.index, spaces, filler, maintenance, holder, grace)
    query = Query(snapshots, spaces, search, answering, adapters.interactions, limits, visibility, shared=shared)
    return Platform(
        collections=Collections(adapters.catalog, adapters.versions, adapters.index, spaces, snapshots, visibility),
        ingest=ingest,
        documents=Documents(adapters.catalog, adapters.versions, adapters.index, snapshots),
        history=History(adapters.catalog, adapters.versions, adapters.index, snapshots, ingest),
        query=query,
        answering=answering,
        search=search,
        snapshots=snapshots,
        interactions=adapters.interactions,
        logged=logged,
        jobs=Jobs(adapters.catalog, visibility, snapshots, builds),
        visibility=visibility,
        embedder=adapters.embedder,
        limits=limits,
        adapters=adapters,
        recovery=recovery,
        replay=Replay(adapters.catalog, adapters.index, logged, snapshots, spaces, search, answering, query, visibility),
        impact=Impact(adapters.catalog, adapters.versions, adapters.index, adapters.interactions, snapshots, visibility, logged),
        housekeeping=Housekeeping(adapters.interactions, keep_interactions),
        sweeper=Sweeper(adapters.catalog, adapters.queue, recovery, visibility, holder),
        inboxes=Inboxes(adapters.catalog, adapters.inbox, ingest, turns, limits) if adapters.inbox is not None else None,
        relays=_relays(adapters, holder),
        write_path=WritePath(
            adapters.catalog,
            adapters.versions,
            adapters.index,
            adapters.staging,
            adapters.parser,
            spaces,
            progress,
            letters,
            visibility,
            maintenance.published,
            holder,
            lease_ttl=lease_ttl,
            turns=writers,
            bulk=BulkJobs(adapters.catalog, adapters.index, spaces, progress, shards, holder) if shards is not None else None,
        ),
        maintenance=maintenance,
        reembedding=Reembedding(adapters.catalog, spaces, ingest, builder.wake, builds, keep_spaces),
        builder=builder,
        backups=Backups(adapters.backup, adapters.catalog, maintenance),
        retention=Retention(
            adapters.catalog,
            adapters.versions,
            adapters.index,
            maintenance,
            grace,
        ),
        erasure=erasure,
        dead_letters=letters,
        doctor=Doctor(adapters.catalog, adapters.versions, adapters.index, spaces, stores, maintenance, erasure, visibility),
    )


def _relays(adapters: Adapters, holder: str) -> tuple[CommitRelay, ...]:
    relays = []
    if adapters.tracker is not None:
        relays.append(CommitRelay(adapters.catalog, "tracking", Tracking(adapters.catalog, adapters.tracker).record, holder))
    if adapters.events is not None:
        relays.append(CommitRelay(adapters.catalog, "events", Events(adapters.versions, adapters.events).publish, holder))
    return tuple(relays)
