"""A platform over the fakes alone, for tests of what stands on top of it."""

from __future__ import annotations

from ragstone.ports.audit_log import AuditLog
from ragstone.ports.bulk_runner import BulkRunner
from ragstone.ports.bulk_stage import BulkStage
from ragstone.ports.catalog import Catalog
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.generator import Generator
from ragstone.ports.inbox import Inbox
from ragstone.ports.interaction_log import InteractionLog
from ragstone.ports.job_queue import JobQueue
from ragstone.ports.reranker import Reranker
from ragstone.ports.staging import Staging
from ragstone.ports.usage_meter import UsageMeter
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.answer import Answering
from ragstone.use_cases.answerability import Calibrations
from ragstone.use_cases.bulk import BulkSettings
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Adapters, Platform, assemble
from ragstone.use_cases.prompts import Prompts
from tests.fakes.audit_log import InMemoryAuditLog
from tests.fakes.catalog import InMemoryCatalog
from tests.fakes.dead_letters import InMemoryDeadLetters
from tests.fakes.document_acls import InMemoryAcls
from tests.fakes.document_parser import ParagraphParser
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.interaction_log import InMemoryInteractionLog
from tests.fakes.job_queue import InMemoryJobQueue
from tests.fakes.staging import InMemoryStaging
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.fakes.version_store import InMemoryVersionStore


def fake_platform(
    *,
    limits: Limits | None = None,
    generator: Generator | None = None,
    interactions: InteractionLog | None = None,
    queue: JobQueue | None = None,
    fallback: Generator | None = None,
    catalog: Catalog | None = None,
    audit: AuditLog | None = None,
    meter: UsageMeter | None = None,
    versions: VersionStore | None = None,
    index: VectorIndex | None = None,
    staging: Staging | None = None,
    inbox: Inbox | None = None,
    embedder: EmbeddingModel | None = None,
    reranker: Reranker | None = None,
    further: tuple[EmbeddingModel, ...] = (),
    bulk_stage: BulkStage | None = None,
    bulk_runner: BulkRunner | None = None,
    bulk: BulkSettings | None = None,
    holder: str = "test",
    shared: bool = False,
) -> Platform:
    """Not started. Whatever is not given is a fresh fake, but for bulk work: without stage and runner there is none."""
    embedder = embedder or HashingEmbeddingModel(32)
    adapters = Adapters(
        catalog=catalog or InMemoryCatalog(),
        versions=versions or InMemoryVersionStore(),
        index=index or InMemoryVectorIndex(),
        staging=staging or InMemoryStaging(),
        queue=queue or InMemoryJobQueue(),
        parser=ParagraphParser(),
        embedder=embedder,
        interactions=interactions or InMemoryInteractionLog(),
        dead_letters=InMemoryDeadLetters(),
        audit=audit or InMemoryAuditLog(),
        meter=meter,
        inbox=inbox,
        reranker=reranker,
        acls=InMemoryAcls(),
        further=further,
        bulk_stage=bulk_stage,
        bulk_runner=bulk_runner,
    )
    answering = Answering(embedder, generator or ScriptedGenerator(), Prompts(), Calibrations(), fallback, further)
    return assemble(adapters, answering, limits or Limits(), holder, bulk=bulk, shared=shared)
