"""A platform over MongoDB's protocol and stores of choice, with backups of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from ragstone.adapters.cluster_backup import ClusterBackup
from ragstone.adapters.cluster_backup_stores import IndexSnapshots, Repositories
from ragstone.adapters.dependency import Dependency
from ragstone.adapters.mongo import MongoDatabase
from ragstone.adapters.mongo_acls import MongoAcls
from ragstone.adapters.mongo_backup import MongoDump
from ragstone.adapters.mongo_catalog import MongoCatalog
from ragstone.adapters.mongo_errors import translated
from ragstone.adapters.mongo_interactions import MongoInteractionLog
from ragstone.adapters.mongo_staging import GridFsStaging
from ragstone.adapters.object_store import ObjectStore, translate
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Adapters, Platform, assemble
from ragstone.use_cases.query import Question
from tests.fakes.dead_letters import InMemoryDeadLetters
from tests.fakes.document_parser import ParagraphParser
from tests.fakes.job_queue import InMemoryJobQueue
from tests.servers.mongo import close, drop
from tests.support.world import RecordingEmbeddingModel, answering

TEXTS = {"a.txt": "The pump is red. It stands in the cellar.", "b.txt": "The mast is tall. It was made in Bergen."}
LATER = {"a.txt": "The pump is green. It stands in the attic.", "c.txt": "The rope is new."}
_PATIENCE = 120.0  # seconds for one job
_QUESTION = "Which colour has the pump, and where does it stand?"


@dataclass
class Cluster:
    """A platform that is not started yet, and backups of its stores."""

    platform: Platform
    backup: ClusterBackup
    repositories: Repositories
    embedder: RecordingEmbeddingModel

    async def ingest(self, texts: dict[str, str]) -> str:
        uploads = tuple(Upload(path, text.encode(), "text/plain") for path, text in texts.items())
        done = await self.platform.ingest.wait((await self.platform.ingest.submit("docs", IngestRequest(uploads))).id, _PATIENCE)
        assert done.result is not None, f"job {done.id} is {done.state} after {_PATIENCE:.0f} s"
        return str(done.result.commit_id)

    async def filled(self) -> list[str]:
        """Starts it and publishes two commits."""
        await self.platform.start()
        await self.platform.collections.create("docs")
        return [await self.ingest(TEXTS), await self.ingest(LATER)]

    async def found(self, as_of: str) -> list[tuple[str, str, float]]:
        result = await self.platform.query.search(Question("docs", _QUESTION, as_of=as_of))
        return [(passage.chunk.path, passage.chunk.text, passage.score) for passage in result.passages]


@dataclass
class Stores:
    """What a cluster is made of beside MongoDB. `objects`: URL of the store under the version store."""

    versions: VersionStore
    repositories: Repositories
    index: VectorIndex
    snapshots: IndexSnapshots
    objects: str


@asynccontextmanager
async def cluster(mongo_url: str, stores: Stores, backups: Path) -> AsyncIterator[Cluster]:
    """In an empty database, which is dropped at the end."""
    name = f"test-{uuid4().hex[:12]}"
    mongo = MongoDatabase(lambda: mongo_url, name)
    embedder = RecordingEmbeddingModel()

    def dependency(of: str) -> Dependency:
        return Dependency(of, timeout=10.0, concurrency=16, translate=translated)

    def object_store(url: str) -> ObjectStore:
        return ObjectStore(url, Dependency("objects", timeout=10.0, concurrency=4, translate=translate))

    adapters = Adapters(
        MongoCatalog(mongo, dependency("catalog")),
        stores.versions,
        stores.index,
        GridFsStaging(mongo, dependency("staging")),
        InMemoryJobQueue(),
        ParagraphParser(),
        embedder,
        MongoInteractionLog(mongo, dependency("interactions"), None),
        InMemoryDeadLetters(),
        MongoAcls(mongo, dependency("acls")),
    )
    dump = MongoDump(mongo, dependency("catalog"))
    copies = object_store(stores.objects), object_store(f"file://{backups}")
    platform = assemble(adapters, answering(embedder), Limits(), name)
    try:
        backup = ClusterBackup(dump, stores.repositories, stores.index, stores.snapshots, *copies)
        yield Cluster(platform, backup, stores.repositories, embedder)
    finally:
        await platform.close(0)
        await close(mongo)
        drop(mongo_url, name)


def told(*_: object) -> None:
    """Nobody looks at the progress."""
