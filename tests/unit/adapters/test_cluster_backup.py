"""Backups of a cluster: MongoDB's protocol, a directory as object store, fakes of lakeFS and Qdrant. On real servers: tests/servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ragstone.adapters import cluster_backup
from ragstone.adapters.cluster_backup_manifest import Manifest
from ragstone.adapters.mongo_backup import MongoDump
from ragstone.domain.errors import Conflict, DataDirectoryError, NotFound, TooLarge
from ragstone.domain.uploads import IngestRequest, Upload
from tests.fakes.cluster_stores import FileRepositories, PickledIndexes
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.fakes.version_store import InMemoryVersionStore
from tests.support import cluster_world
from tests.support.cluster_world import TEXTS, Cluster, Stores, told

New = Callable[[], Awaitable[Cluster]]


@pytest.fixture
async def cluster(mongo_url: str, tmp_path: Path) -> AsyncIterator[New]:
    """New empty stores each time; backups go to one place."""
    for folder in ("backups", "objects"):
        (tmp_path / folder).mkdir()
    async with AsyncExitStack() as made:

        async def new() -> Cluster:
            versions, index = InMemoryVersionStore(), InMemoryVectorIndex()
            repositories = FileRepositories(versions, tmp_path / "objects")
            stores = Stores(versions, repositories, index, PickledIndexes(index), f"file://{tmp_path}/objects")
            return await made.enter_async_context(cluster_world.cluster(mongo_url, stores, tmp_path / "backups"))

        yield new


async def test_a_restore_into_empty_stores_answers_as_before_at_every_commit(cluster: New) -> None:
    source = await cluster()
    commits = await source.filled()
    await source.platform.history.tag("docs", "first", commits[0])
    before = [await source.found(commit) for commit in commits]
    made = await source.backup.create(told)
    assert [(one.name, one.commit_id, one.position) for one in made.collections] == [("docs", commits[1], 2)]

    target = await cluster()
    assert await target.backup.names() == [made.name]
    assert await target.backup.restore(made.name, told) == made
    await target.platform.start()
    assert [await target.found(commit) for commit in commits] == before
    assert await target.found("first") == before[0]
    assert (await target.platform.documents.get("docs", "a.txt", as_of=commits[0]))[1].content == TEXTS["a.txt"].encode()
    assert not target.embedder.passages
    assert not (await target.platform.doctor.run()).findings
    assert await target.ingest({"e.txt": "Something new."}) not in commits


async def test_what_was_published_while_it_was_made_is_not_in_it_wholly(cluster: New, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the catalog and the index two commits are published; the number of the first is given out again after the restore."""
    source = await cluster()
    commits = await source.filled()
    before = [await source.found(commit) for commit in commits]
    original = FileRepositories.dump
    published: list[str] = []

    async def slow(self: FileRepositories, repo: str) -> object:
        if not published:
            published.append(await source.ingest({"a.txt": "The pump is blue. It is gone."}))
            published.append(await source.ingest({"b.txt": "The mast is short."}))
        return await original(self, repo)

    monkeypatch.setattr(FileRepositories, "dump", slow)
    made = await source.backup.create(told)
    assert made.collections[0].commit_id == commits[1]
    assert len(published) == 2

    target = await cluster()
    await target.backup.restore(made.name, told)
    await target.platform.start()
    assert [await target.found(commit) for commit in commits] == before
    assert await target.found("#2") == before[1]
    await target.platform.doctor.run(repair=True)
    await target.ingest({"a.txt": "The pump is yellow."})
    assert [await target.found(commit) for commit in commits] == before
    assert not (await target.platform.doctor.run()).findings


async def test_jobs_that_were_not_done_have_failed_and_nobody_holds_a_lease(cluster: New) -> None:
    source = await cluster()
    await source.filled()
    await source.platform.drain(0)
    waiting = await source.platform.ingest.submit("docs", IngestRequest((Upload("z.txt", b"Later.", "text/plain"),)))
    made = await source.backup.create(told)
    target = await cluster()
    await target.backup.restore(made.name, told)
    await target.platform.start()
    job = await target.platform.adapters.catalog.job(waiting.id)
    assert (job.state, job.result and job.result.error_code) == ("failed", "not-in-backup")


async def test_stores_that_hold_something_are_refused(cluster: New) -> None:
    source = await cluster()
    await source.filled()
    made = await source.backup.create(told)
    with pytest.raises(Conflict, match="docs"):
        await source.backup.restore(made.name, told)


async def test_a_restore_that_was_cut_short_is_done_again(cluster: New, monkeypatch: pytest.MonkeyPatch) -> None:
    source = await cluster()
    commits = await source.filled()
    before = [await source.found(commit) for commit in commits]
    made = await source.backup.create(told)
    target, original, loaded = await cluster(), MongoDump.load, []

    async def cut_short(self: MongoDump, name: str, content: AsyncIterator[bytes]) -> None:
        await original(self, name, content)
        loaded.append(name)
        if name == "commits":
            raise NotFound("The pod was deleted.")

    with monkeypatch.context() as patched:
        patched.setattr(MongoDump, "load", cut_short)
        with pytest.raises(NotFound):
            await target.backup.restore(made.name, told)
    assert "collections" not in loaded  # nobody sees any of it yet
    await target.backup.restore(made.name, told)
    await target.platform.start()
    assert [await target.found(commit) for commit in commits] == before


@pytest.mark.parametrize("part", ["catalog/collections.bson", "catalog/commits.bson", "index"])
async def test_a_damaged_backup_is_refused_before_anybody_sees_it(cluster: New, tmp_path: Path, part: str) -> None:
    source = await cluster()
    await source.filled()
    made = await source.backup.create(told)
    [file] = [file for file in (tmp_path / "backups" / "backups" / made.name).rglob("*") if file.is_file() and part in str(file)]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    target = await cluster()
    with pytest.raises(DataDirectoryError, match="damaged"):
        await target.backup.restore(made.name, told)


async def test_a_manifest_of_another_hand_or_release_is_refused(cluster: New, tmp_path: Path) -> None:
    one = await cluster()
    await one.filled()
    made = await one.backup.create(told)
    file = tmp_path / "backups" / "backups" / made.name / "manifest.json"
    sound = json.loads(file.read_text())
    changes: list[tuple[dict[str, object], str]] = [
        ({"format": 2}, "newer"),
        ({"schema_version": 99}, "newer"),
        ({"files": {"../x": {"size": 1, "sha256": "0" * 64}}}, "damaged"),
        ({"files": {}}, "damaged"),
        ({"objects": {"../../x": 1}}, "damaged"),
        ({"name": "20200101T000000Z"}, "damaged"),
        ({"unknown": 1}, "damaged"),
    ]
    for change, why in changes:
        file.write_text(json.dumps(sound | change))
        with pytest.raises(DataDirectoryError, match=why):
            await one.backup.manifest(made.name)


async def test_a_backup_that_is_not_there_is_not_found(cluster: New) -> None:
    one = await cluster()
    for name in ("../x", "20200101T000000Z", ""):
        with pytest.raises(NotFound):
            await one.backup.manifest(name)


async def test_old_backups_go_and_what_the_others_need_stays(cluster: New, monkeypatch: pytest.MonkeyPatch) -> None:
    source = await cluster()
    commits = await source.filled()
    before = [await source.found(commit) for commit in commits]
    first = await source.backup.create(told)
    await source.ingest({"d.txt": "Another one."})
    second = await _another(source, first)
    assert await source.backup.prune(1) == [first.name]
    assert await source.backup.names() == [second.name]
    assert await source.backup.prune(1) == []
    target = await cluster()
    await target.backup.restore(second.name, told)
    await target.platform.start()
    assert [await target.found(commit) for commit in commits] == before


async def _another(cluster: Cluster, than: Manifest) -> Manifest:
    """Names are seconds."""
    while f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}" == than.name:
        with pytest.raises(Conflict, match=than.name):
            await cluster.backup.create(told)
        await asyncio.sleep(0.1)
    return await cluster.backup.create(told)


async def test_what_could_not_be_read_back_is_not_written(cluster: New, monkeypatch: pytest.MonkeyPatch) -> None:
    source = await cluster()
    await source.filled()
    monkeypatch.setattr(cluster_backup, "_MANIFEST_LIMIT", 1000)
    with pytest.raises(TooLarge, match="objects"):
        await source.backup.create(told)
    assert await source.backup.names() == []


async def test_a_collection_without_a_repository_is_told_and_leaves_no_backup(cluster: New) -> None:
    source = await cluster()
    await source.filled()
    await source.platform.adapters.versions.delete((await source.platform.adapters.catalog.collection("docs")).uid)
    with pytest.raises(Conflict, match="doctor"):
        await source.backup.create(told)
    assert await source.backup.names() == []
