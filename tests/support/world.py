"""A whole platform for tests: over the fakes, or over the embedded adapters in a directory. Both can be closed and opened again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragstone.adapters.data_directory import open_data_directory
from ragstone.adapters.embedded_backup import EmbeddedBackup
from ragstone.adapters.file_staging import FileStaging
from ragstone.adapters.git import GitVersionStore
from ragstone.adapters.in_process_queue import InProcessJobQueue
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.sqlite_acls import SqliteAcls
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_dead_letters import SqliteDeadLetters
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.domain.retrieval import Vectors
from ragstone.use_cases.answer import Answering
from ragstone.use_cases.answerability import Calibrations
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


class RecordingEmbeddingModel(HashingEmbeddingModel):
    """Keeps every passage that it embedded, in order."""

    def __init__(self, dimension: int = 32, *, revision: str = "1") -> None:
        super().__init__(dimension, revision=revision)
        self.passages: list[str] = []

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        self.passages += texts
        return await super().embed_passages(texts)


@dataclass
class World:
    """A started platform; `open` starts one on the same stores."""

    platform: Platform
    embedder: RecordingEmbeddingModel
    other: RecordingEmbeddingModel  # of further spaces
    open: Callable[[], Awaitable[Platform]]
    end: Callable[[Platform], Awaitable[None]]

    async def reopen(self) -> World:
        """The process ends and another one starts."""
        await self.end(self.platform)
        return World(await self.open(), self.embedder, self.other, self.open, self.end)


def answering(embedder: HashingEmbeddingModel, *further: HashingEmbeddingModel) -> Answering:
    """With a generator that cites the first passage."""
    return Answering(embedder, ScriptedGenerator(), Prompts(), Calibrations(), further=further)


async def fake_world(directory: Path) -> World:
    """Over the fakes; what they hold outlives `reopen`."""
    embedder, other = RecordingEmbeddingModel(), RecordingEmbeddingModel(24, revision="2")
    catalog, versions, index, staging = InMemoryCatalog(), InMemoryVersionStore(), InMemoryVectorIndex(), InMemoryStaging()
    interactions, letters, audit, acls = InMemoryInteractionLog(), InMemoryDeadLetters(), InMemoryAuditLog(), InMemoryAcls()

    async def start() -> Platform:
        adapters = Adapters(
            catalog,
            versions,
            index,
            staging,
            InMemoryJobQueue(),
            ParagraphParser(),
            embedder,
            interactions,
            letters,
            acls,
            (other,),
            audit=audit,
        )
        platform = assemble(adapters, answering(embedder, other), Limits(), "test")
        await platform.start()
        return platform

    async def end(platform: Platform) -> None:
        await platform.adapters.queue.stop(0)

    return World(await start(), embedder, other, start, end)


async def embedded_world(directory: Path) -> World:
    """Over Git, SQLite and Qdrant Edge in `directory`, with the fake embedding model."""
    embedder, other = RecordingEmbeddingModel(), RecordingEmbeddingModel(24, revision="2")

    async def start() -> Platform:
        data = open_data_directory(directory / "data")
        versions, index = GitVersionStore(data.versions), QdrantEdgeIndex(data.index)
        adapters = Adapters(
            SqliteCatalog(data.database),
            versions,
            index,
            FileStaging(data.staging),
            InProcessJobQueue(),
            ParagraphParser(),
            embedder,
            SqliteInteractionLog(data.database),
            SqliteDeadLetters(data.database),
            SqliteAcls(data.database),
            (other,),
            backup=EmbeddedBackup(data, versions, index),
        )
        platform = assemble(adapters, answering(embedder, other), Limits(), "test")
        await platform.start()
        _directories[id(platform)] = data.close
        return platform

    async def end(platform: Platform) -> None:
        await platform.close(0)
        _directories.pop(id(platform))()

    return World(await start(), embedder, other, start, end)


_directories: dict[int, Callable[[], None]] = {}
