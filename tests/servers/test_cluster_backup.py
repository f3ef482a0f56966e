"""Backups of real servers, of lakeFS always, of Qdrant where it is here, into a directory, and back into other servers, which are empty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ragstone.adapters.lakefs_backup import LakeFsDump
from ragstone.domain.errors import Conflict
from tests.fakes.cluster_stores import PickledIndexes
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.servers import lakefs, qdrant
from tests.support import cluster_world
from tests.support.cluster_world import TEXTS, Cluster, Stores, told

pytestmark = pytest.mark.servers
PREFIX = "backup-"
New = Callable[[], Awaitable[Cluster]]


@pytest.fixture(params=["memory", "qdrant"])
async def cluster(
    request: pytest.FixtureRequest, mongo_url: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[New]:
    """A new lakeFS each time, and new indexes; backups go to one place."""
    (tmp_path / "backups").mkdir()
    async with AsyncExitStack() as made:

        async def new() -> Cluster:
            server = made.enter_context(lakefs.serving(tmp_path_factory.mktemp("lakefs")))
            repositories = LakeFsDump(server.url, server.key, lambda: server.secret, PREFIX)
            made.push_async_callback(repositories.close)
            versions = server.store(prefix=PREFIX)
            assert server.objects is not None
            if request.param == "memory":
                memory = InMemoryVectorIndex()
                stores = Stores(versions, repositories, memory, PickledIndexes(memory), server.objects)
            else:
                index = qdrant.index(qdrant.server(request.getfixturevalue("qdrant_url")))
                stores = Stores(versions, repositories, index, index.snapshots, server.objects)
            return await made.enter_async_context(cluster_world.cluster(mongo_url, stores, tmp_path / "backups"))

        yield new


async def test_a_restore_into_empty_servers_answers_as_before_at_every_commit(cluster: New) -> None:
    source = await cluster()
    commits = await source.filled()
    await source.platform.history.tag("docs", "first", commits[0])
    before = [await source.found(commit) for commit in commits]
    made = await source.backup.create(told)
    await source.ingest({"d.txt": "The pump is blue since yesterday."})  # not in the backup

    target = await cluster()
    await target.backup.restore(made.name, told)
    await target.platform.start()
    assert [await target.found(commit) for commit in commits] == before
    assert await target.found("first") == before[0]
    assert (await target.platform.documents.get("docs", "a.txt", as_of=commits[0]))[1].content == TEXTS["a.txt"].encode()
    assert not target.embedder.passages
    report = await target.platform.doctor.run(repair=True)
    assert all(finding.repaired for finding in report.findings), report
    assert await target.ingest({"e.txt": "Something new."}) not in commits  # it goes on
    assert [await target.found(commit) for commit in commits] == before
    assert not (await target.platform.doctor.run()).findings


async def test_what_was_published_while_it_was_made_is_not_in_it_wholly(cluster: New, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the catalog and lakeFS two commits are published; the number of the first is given out again after the restore."""
    source = await cluster()
    commits = await source.filled()
    before = [await source.found(commit) for commit in commits]
    original = LakeFsDump.dump
    published: list[str] = []

    async def slow(self: LakeFsDump, repo: str) -> object:
        if not published:
            published.append(await source.ingest({"a.txt": "The pump is blue. It is gone."}))
            published.append(await source.ingest({"b.txt": "The mast is short."}))
        return await original(self, repo)

    monkeypatch.setattr(LakeFsDump, "dump", slow)
    made = await source.backup.create(told)
    assert made.collections[0].commit_id == commits[1]

    target = await cluster()
    await target.backup.restore(made.name, told)
    await target.platform.start()
    assert [await target.found(commit) for commit in commits] == before
    await target.ingest({"a.txt": "The pump is yellow."})
    assert [await target.found(commit) for commit in commits] == before
    assert not (await target.platform.doctor.run()).findings


async def test_a_repository_is_restored_again_and_another_ones_place_is_not_taken(cluster: New) -> None:
    """The first is what a restore that was cut short comes to."""
    source = await cluster()
    await source.filled()
    made = await source.backup.create(told)
    [one] = made.collections
    target = await cluster()
    await target.backup.restore(made.name, told)
    repositories = target.repositories
    await repositories.restore(one)
    await target.platform.start()
    await target.ingest({"e.txt": "Something new."})
    for other in (one, one.model_copy(update={"namespace": "local://elsewhere"})):
        with pytest.raises(Conflict, match="already"):
            await repositories.restore(other)
