"""`ragstone cluster-backup`, over MongoDB's protocol and fakes of the other stores."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from ragstone.adapters.cluster_backup import ClusterBackup
from ragstone.bootstrap import maintenance
from ragstone.cli import cluster_backup as commands
from ragstone.cli.session import Flags, Session
from ragstone.domain.errors import InvalidInput
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from ragstone.use_cases.exclusive import Exclusive
from tests.fakes.cluster_stores import FileRepositories, PickledIndexes
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.fakes.version_store import InMemoryVersionStore
from tests.support import cluster_world
from tests.support.cluster_world import Cluster, Stores

SERVERS: dict[str, dict[str, object]] = {
    "catalog": {"kind": "mongo", "uri": "mongodb://127.0.0.1:1/?replicaSet=rs0"},
    "versions": {
        "kind": "lakefs",
        "endpoint": "http://127.0.0.1:1",
        "access_key_id": "id",
        "secret_access_key": "secret",
        "storage_namespace": "s3://bucket",
    },
    "index": {"kind": "qdrant", "url": "http://127.0.0.1:1"},
}


async def test_a_backup_is_made_listed_and_restored(
    mongo_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("backups", "objects"):
        (tmp_path / folder).mkdir()
    async with AsyncExitStack() as made:

        async def new() -> Cluster:
            versions, index = InMemoryVersionStore(), InMemoryVectorIndex()
            repositories = FileRepositories(versions, tmp_path / "objects")
            stores = Stores(versions, repositories, index, PickledIndexes(index), f"file://{tmp_path}/objects")
            one = await made.enter_async_context(cluster_world.cluster(mongo_url, stores, tmp_path / "backups"))

            @asynccontextmanager
            async def servers(_: Settings) -> AsyncIterator[tuple[ClusterBackup, Exclusive]]:
                yield one.backup, Exclusive(one.platform.adapters.catalog, "cli", shared=True)

            monkeypatch.setattr(maintenance, "cluster_backup", servers)
            return one

        session = Session(Flags(json=True, quiet=True, data_dir=tmp_path / "data"))
        source = await new()
        await commands.listed(session)
        assert json.loads(capsys.readouterr().out) == {"backups": []}
        commits = await source.filled()
        await commands.create(session)
        created = json.loads(capsys.readouterr().out)
        assert created["collections"] == [{"name": "docs", "commit_id": commits[1], "position": 2}]
        assert created["deleted"] == []
        await commands.listed(session)
        assert [one["name"] for one in json.loads(capsys.readouterr().out)["backups"]] == [created["name"]]

        target = await new()
        plain = Session(Flags(quiet=True, data_dir=tmp_path / "data"))
        await commands.restore(plain, created["name"])
        assert "ragstone doctor --repair" in capsys.readouterr().out
        await target.platform.start()
        assert await target.found(commits[0]) == await source.found(commits[0])


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, "ragstone backup"),
        (SERVERS, "backup.url"),
        ({**SERVERS, "backup": {"url": "file:///nowhere"}}, "versions.object_store.url"),
    ],
)
async def test_what_is_no_cluster_or_has_no_place_for_backups_is_told(settings: dict[str, object], missing: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=missing):
        async with maintenance.cluster_backup(load_settings(data_dir=tmp_path / "data", **settings)):
            pass


async def test_servers_are_connected_to_when_they_are_asked(tmp_path: Path) -> None:
    settings: dict[str, dict[str, object]] = {**SERVERS, "backup": {"url": f"file://{tmp_path}"}}
    settings["versions"] = {**SERVERS["versions"], "object_store": {"url": f"file://{tmp_path}"}}
    async with maintenance.cluster_backup(load_settings(data_dir=tmp_path / "data", **settings)) as (backup, _):
        assert await backup.names() == []
