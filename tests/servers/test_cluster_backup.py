"""Backups of real servers: MongoDB, lakeFS and Qdrant into a directory, and back into empty ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from ragstone.bootstrap import cluster_backup, open_platform
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from ragstone.use_cases.platform import Platform
from ragstone.use_cases.query import Question
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.servers.lakefs import LakeFs
from tests.servers.mongo import drop

pytestmark = pytest.mark.servers
TEXTS = {"a.txt": "The pump is red. It stands in the cellar.", "b.txt": "The mast is tall. It was made in Bergen."}
LATER = {"a.txt": "The pump is green. It stands in the attic.", "c.txt": "The rope is new."}


@dataclass
class Stores:
    """Servers, and what of them belongs to this test."""

    mongo_url: str
    lakefs: LakeFs
    qdrant_url: str
    grpc_port: int
    directory: Path

    def settings(self, name: str, *, namespace: str | None = None) -> Settings:
        """Of a platform in a database and repositories of its own; `namespace`: where its objects are, if elsewhere than the others'."""
        return load_settings(
            data_dir=self.directory / f"data-{name}",
            catalog={"kind": "mongo", "uri": self.mongo_url, "database": f"test-{name}"},
            versions={
                "kind": "lakefs",
                "endpoint": self.lakefs.url,
                "access_key_id": self.lakefs.key,
                "secret_access_key": self.lakefs.secret,
                "storage_namespace": namespace or f"{self.lakefs.namespace}/{name}",
                "repository_prefix": f"{name}-",
                "object_store": {"url": self.lakefs.objects},
            },
            index={"kind": "qdrant", "url": self.qdrant_url, "grpc_port": self.grpc_port, "prefix": f"{name}-"},
            backup={"url": f"file://{self.directory}/backups", "keep": 2},
        )


@pytest.fixture
def stores(mongo_url: str, lakefs_server: LakeFs, qdrant_url: str, tmp_path: Path) -> Stores:
    (tmp_path / "backups").mkdir()
    return Stores(mongo_url, lakefs_server, qdrant_url, (urlsplit(qdrant_url).port or 6333) + 1, tmp_path)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Platform]:
    async with open_platform(settings, embedder=HashingEmbeddingModel(32)) as platform:
        yield platform


async def ingest(platform: Platform, texts: dict[str, str]) -> str:
    job = await platform.ingest.submit(
        "docs", IngestRequest(tuple(Upload(path, text.encode(), "text/plain") for path, text in texts.items()))
    )
    done = await platform.ingest.wait(job.id, 60)
    assert done.result is not None
    assert done.state == "published", done.result
    return str(done.result.commit_id)


async def found(platform: Platform, as_of: str) -> list[tuple[str, str, float]]:
    result = await platform.query.search(Question("docs", "Which colour has the pump, and where does it stand?", as_of=as_of))
    return [(passage.chunk.path, passage.chunk.text, passage.score) for passage in result.passages]


async def backed_up(settings: Settings) -> str:
    async with cluster_backup(settings) as (backup, _):
        return (await backup.create(lambda *_: None)).name


async def test_a_restore_into_empty_servers_answers_as_before_at_every_commit(stores: Stores) -> None:
    name, other = f"b{uuid4().hex[:8]}", f"r{uuid4().hex[:8]}"
    source = stores.settings(name)
    try:
        async with running(source) as platform:
            await platform.collections.create("docs")
            commits = [await ingest(platform, TEXTS), await ingest(platform, LATER)]
            await platform.history.tag("docs", "first", commits[0])
            backup = await backed_up(source)
            before = [await found(platform, commit) for commit in commits]
            await ingest(platform, {"d.txt": "The pump is blue since yesterday."})  # not in the backup
            await platform.collections.delete("docs")
        # lakeFS keeps a repository's objects by its namespace, which a restore has to keep: so it restores over the same names.
        drop(stores.mongo_url, f"test-{name}")
        async with cluster_backup(source) as (restoring, _):
            manifest = await restoring.restore(backup, lambda *_: None)
        assert [one.commit_id for one in manifest.collections] == [commits[1]]
        async with running(source) as platform:
            assert [await found(platform, commit) for commit in commits] == before
            assert await found(platform, "first") == before[0]
            assert (await platform.documents.get("docs", "a.txt", as_of=commits[0]))[1].content == TEXTS["a.txt"].encode()
            report = await platform.doctor.run()
            assert not report.findings, report
            assert await ingest(platform, {"e.txt": "Something new."}) not in commits  # it goes on
    finally:
        drop(stores.mongo_url, f"test-{name}")
        drop(stores.mongo_url, f"test-{other}")
