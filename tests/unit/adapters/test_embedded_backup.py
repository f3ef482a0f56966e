"""A backup of a directory in use, restored: every commit answers as it did, what came later is not there, and what is damaged is refused."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragstone.adapters import backup_restore, embedded_backup
from ragstone.adapters.backup_manifest import digest_of
from ragstone.adapters.backup_restore import check, restore
from ragstone.adapters.data_directory import open_data_directory
from ragstone.adapters.embedded_backup import EmbeddedBackup
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.sparse_files import copy_tree
from ragstone.domain.errors import Busy, Conflict, DataDirectoryError, InvalidInput, NotFound, RagstoneError, StorageFull, Unavailable
from ragstone.domain.ids import new_id
from ragstone.domain.jobs import ChangeRequest, Job, Put
from ragstone.domain.retrieval import Point
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.use_cases.platform import Platform
from ragstone.use_cases.query import Question
from tests.support import checkup
from tests.support.portrait import Portrait, portrait
from tests.support.world import World, embedded_world

NAME = checkup.NAME


async def backup(platform: Platform, file: Path) -> Path:
    copy = await platform.backups.take()
    with file.open("wb") as target:
        async for piece in copy.stream():
            target.write(piece)
    await copy.close()
    return file


async def opened(file: Path, home: Path) -> World:
    """A platform over what is restored from the file."""
    restore(file, home / "data")
    return await embedded_world(home)


async def change(platform: Platform, *uploads: Upload, deletes: tuple[str, ...] = ()) -> Job:
    return await checkup.change(platform, *uploads, deletes=deletes)


async def findings(platform: Platform) -> list[str]:
    return [finding.kind for finding in (await platform.doctor.run()).findings if finding.kind != "little-space"]


def until(picture: Portrait, seq: int) -> list[Any]:
    return [commit for commit in picture[NAME]["commits"] if commit["commit"][1] <= seq]


async def begin_and_stop(platform: Platform, path: str) -> str:
    """A job in the middle of its writing: its branch, one point opened, one closed, the lease held, and nobody there to end it."""
    adapters = platform.adapters
    collection = await adapters.catalog.collection(NAME)
    index = collection.index_name(collection.space_id)
    job = new_id()
    put = Put(path, "text/plain", await adapters.staging.put(job, b"Late."), 5)
    await adapters.catalog.accept(Job(job, NAME, 0, ChangeRequest((put,)), "local", "queued", 0.0), idempotency_key=path)
    lease = await adapters.catalog.acquire(job, "gone", 600.0)
    await adapters.versions.stage(collection.uid, lease.attempt, lease.head_id, [], ["a.txt"], author="gone", message="", metadata={})
    first = (await adapters.index.visible(index, lease.head_seq, lease.gaps, ["a.txt"]))[0]
    ghost = replace(first, id=f"00000000-0000-5000-8000-{lease.attempt:012}", path=path, seq_from=lease.attempt)
    await adapters.index.insert(index, [Point(ghost, np.full(32, 32**-0.5, np.float32))])
    await adapters.index.close_points(index, [first.id], lease.attempt, lease.gaps)
    return job


class Meanwhile:
    """Runs something once, between the copy of the database and the copies of the rest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[object]]) -> None:
        original = QdrantEdgeIndex.copy
        waiting = [work]

        async def copy(index: QdrantEdgeIndex, name: str, folder: Path) -> None:
            while waiting:
                await waiting.pop()()
            await original(index, name, folder)

        monkeypatch.setattr(QdrantEdgeIndex, "copy", copy)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a history, made once."""
    home = tmp_path_factory.mktemp("filled")

    async def make() -> Path:
        world = await embedded_world(home)
        await checkup.fill(world.platform)
        await world.end(world.platform)
        return home / "data"

    return asyncio.run(make())


@pytest.fixture
async def world(filled: Path, tmp_path: Path) -> World:
    (tmp_path / "first").mkdir()
    copy_tree(filled, tmp_path / "first" / "data")
    return await embedded_world(tmp_path / "first")


async def test_every_commit_answers_as_before_and_what_came_later_is_not_there(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = world.platform
    before, question = await checkup.picture(platform), Question(NAME, "when does the ferry leave")
    logged = await platform.query.run(question)
    late = await begin_and_stop(platform, "late.txt")

    spool = tmp_path / "first" / "data" / "spool" / "interactions.jsonl"
    spool.write_bytes(b"one\ntwo\nhal")

    async def later() -> None:
        spool.write_bytes(b"three\n")  # the others were handed on meanwhile
        await platform.adapters.catalog.requeue_orphans()
        await platform.adapters.queue.enqueue(NAME, late)  # the attempt that hung is aborted, the job published by another
        await platform.ingest.wait(late, 30)
        await change(platform, checkup.upload("a.txt", "later"), checkup.upload("later.txt", "later"), deletes=("c.txt",))
        await platform.query.run(question)
        await begin_and_stop(platform, "latest.txt")

    Meanwhile(monkeypatch, later)
    file = await backup(platform, tmp_path / "b.tar.gz")
    after = await checkup.picture(platform)
    assert len(after[NAME]["commits"]) == len(before[NAME]["commits"]) + 2
    manifest = check(file)
    [told] = manifest.collections
    assert [told.commit_id, told.seq, told.position] == before[NAME]["commits"][-1]["commit"][:3]
    await world.end(platform)
    assert not any((tmp_path / "first" / "data" / ".backup").iterdir())

    restore(file, tmp_path / "second" / "data")
    [repository] = (tmp_path / "second" / "data" / "versions").iterdir()
    assert (repository / "refs" / "heads" / "main").read_text() == f"{told.commit_id}\n"
    assert (tmp_path / "second" / "data" / "spool" / "interactions.jsonl").read_bytes() == b"one\ntwo\nthree\n"
    restored = await embedded_world(tmp_path / "second")
    assert await checkup.picture(restored.platform) == before
    assert await findings(restored.platform) == []
    job = await restored.platform.ingest.job(late)
    assert job.result is not None
    assert (job.state, job.result.error_code) == ("failed", "not-in-backup")
    assert (await restored.platform.interactions.get(logged.interaction.id)).question == question.text
    assert await restored.platform.adapters.staging.jobs() == []
    git = await asyncio.to_thread(
        subprocess.run,
        ["git", "-C", str(repository), "fsck", "--full"],
        capture_output=True,
        check=False,
    )
    assert git.returncode == 0, git.stderr

    again = Upload("late.txt", b"Late.", "text/plain")
    sent = await restored.platform.ingest.submit(NAME, IngestRequest((again,)), idempotency_key="late.txt")  # its key is free again
    assert (await restored.platform.ingest.wait(sent.id, 30)).state == "published"
    await change(restored.platform, checkup.upload("a.txt", "anew"), deletes=("d.txt",))
    now = await checkup.picture(restored.platform)
    assert now[NAME]["commits"][: len(before[NAME]["commits"])] == before[NAME]["commits"]
    assert await findings(restored.platform) == []
    await restored.end(restored.platform)


async def test_backups_while_it_is_written_and_read_all_the_time(tmp_path: Path) -> None:
    world = await embedded_world(tmp_path / "first")
    platform = world.platform
    await platform.collections.create(NAME)
    await change(platform, checkup.upload("0.txt", "ferry"))
    stop = asyncio.Event()

    async def write(writer: int) -> None:
        for number in range(1, 9):
            deletes = (f"{writer}-{number - 2}.txt",) if number > 2 else ()
            await change(
                platform,
                checkup.upload(f"{writer}-{number}.txt", f"ferry {number}", "salt"),
                checkup.upload("0.txt", f"{number}"),
                deletes=deletes,
            )

    async def ask() -> None:
        while not stop.is_set():
            assert (await platform.query.run(Question(NAME, "ferry"))).passages

    async with asyncio.TaskGroup() as group:
        for task in (write(1), write(2), ask()):
            group.create_task(task)
        file = await backup(platform, tmp_path / "b.tar.gz")
        stop.set()
    picture = await portrait(platform, ["ferry"])
    await world.end(platform)
    seq = check(file).collections[0].seq
    assert seq is not None
    restored = await opened(file, tmp_path / "second")
    assert (await portrait(restored.platform, ["ferry"]))[NAME]["commits"] == until(picture, seq) != picture[NAME]["commits"]
    assert await findings(restored.platform) == []
    await restored.end(restored.platform)


async def test_a_pruned_and_purged_history_is_backed_up_as_it_is(world: World, tmp_path: Path) -> None:
    platform = world.platform
    await platform.erasure.purge(NAME, "c.txt", reason="asked for")
    file = await backup(platform, tmp_path / "b.tar.gz")
    head = (await platform.snapshots.commit(NAME, "head")).id
    await world.end(platform)
    restored = await opened(file, tmp_path / "second")
    assert (await restored.platform.snapshots.commit(NAME, "head")).id == head
    assert [purge.path for purge in await restored.platform.erasure.purges(NAME)] == ["c.txt"]
    assert await findings(restored.platform) == []
    await restored.end(restored.platform)


async def test_collections_that_come_and_go_meanwhile(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = world.platform
    await platform.collections.create("empty")
    await platform.collections.create("doomed")
    Meanwhile(monkeypatch, lambda: platform.collections.delete("doomed"))
    file = await backup(platform, tmp_path / "b.tar.gz")  # it was begun again
    assert [each.name for each in check(file).collections] == [NAME, "empty"]
    backups = platform.adapters.backup
    assert backups is not None
    with pytest.raises(Conflict):
        await backups.copy([NAME])
    Meanwhile(monkeypatch, lambda: _busy(platform))
    await (await platform.backups.take()).close()
    await world.end(platform)
    restored = await opened(file, tmp_path / "second")
    assert (await restored.platform.adapters.catalog.head("empty")) is None
    assert await findings(restored.platform) == []
    await restored.end(restored.platform)


async def _busy(platform: Platform) -> None:
    backups = platform.adapters.backup
    assert backups is not None
    with pytest.raises(Busy):
        await backups.copy([])


async def test_a_full_disk_is_seen_before_anything_is_copied(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await backup(world.platform, tmp_path / "b.tar.gz")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(StorageFull, match="A backup needs room"):
        await world.platform.backups.take()
    with pytest.raises(StorageFull, match="The backup needs"):
        restore(file, tmp_path / "second")
    assert not (tmp_path / "second").exists()
    monkeypatch.undo()
    await world.end(world.platform)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StorageFull), (errno.EIO, Unavailable)])
async def test_a_disk_that_fails_is_told_and_nothing_stays(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[RagstoneError]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(embedded_backup, "describe", fail)
    with pytest.raises(kind):
        await world.platform.backups.take()
    assert not any((tmp_path / "first" / "data" / ".backup").iterdir())
    await world.end(world.platform)


async def test_what_a_killed_backup_left_is_removed_at_the_next_start(world: World, tmp_path: Path) -> None:
    await world.platform.backups.take()  # never read, never closed
    folder = tmp_path / "first" / "data" / ".backup"
    assert any(folder.iterdir())
    again = await world.reopen()
    assert not folder.exists()
    await again.end(again.platform)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a directory without collections: small, and quick to read."""
    home = tmp_path_factory.mktemp("small")

    async def make() -> Path:
        world = await embedded_world(home)
        file = await backup(world.platform, home / "b.tar.gz")
        await world.end(world.platform)
        return file

    return asyncio.run(make())


Member = tuple[tarfile.TarInfo, bytes]


def rebuilt(file: Path, target: Path, edit: Callable[[list[Member]], None]) -> Path:
    """The backup with its members edited."""
    with tarfile.open(file) as archive:
        members = [(info, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]
    edit(members)
    with tarfile.open(target, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target


def manifest_of(members: list[Member]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(members[0][1])
    return found


def with_manifest(**changed: Any) -> Callable[[list[Member]], None]:
    def edit(members: list[Member]) -> None:
        members[0] = (members[0][0], json.dumps(manifest_of(members) | changed).encode())

    return edit


def with_file(path: str, size: int = 1) -> Callable[[list[Member]], None]:
    """Both the manifest and the archive say that there is this file."""

    def edit(members: list[Member]) -> None:
        digest = digest_of(size, [(0, 1)])
        digest.update(b"x")
        document = manifest_of(members)
        document["files"].append({"path": path, "size": size, "runs": [[0, 1]], "sha256": digest.hexdigest()})
        members[0] = (members[0][0], json.dumps(document).encode())
        members.append((tarfile.TarInfo(f"data/{path}"), b"x"))

    return edit


def with_last(**changed: Any) -> Callable[[list[Member]], None]:
    """The manifest says something else of the last file."""

    def edit(members: list[Member]) -> None:
        document = manifest_of(members)
        document["files"][-1].update(changed)
        members[0] = (members[0][0], json.dumps(document).encode())

    return edit


def linked(members: list[Member]) -> None:
    info = tarfile.TarInfo(members[1][0].name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members[1] = (info, b"")


def swapped(members: list[Member]) -> None:
    info, content = members[-1]
    members[-1] = (info, content[:-1] + b"x")


def renamed(members: list[Member]) -> None:
    members[1][0].name = f"data/{'long/' * 20_000}"


def commented(members: list[Member]) -> None:
    members[1][0].pax_headers = {"comment": "x"}


DAMAGES: dict[str, Callable[[list[Member]], None]] = {
    "another byte": swapped,
    "a file less": lambda members: members.__delitem__(-1),
    "a file more": lambda members: members.append((tarfile.TarInfo("data/spool/x"), b"x")),
    "no manifest": lambda members: members.__delitem__(0),
    "manifest not JSON": lambda members: members.__setitem__(0, (members[0][0], b"{")),
    "newer backup": with_manifest(format=2),
    "newer directory": with_manifest(directory_format=99),
    "newer database": with_manifest(database_version=99),
    "nothing in it": with_manifest(files=[]),
    "a link": linked,
    "a long name": renamed,
    "strange fields": commented,
    "runs that overlap": with_last(runs=[[0, 4096], [0, 4096]]),
    "runs beyond the end": with_file("spool/x", size=0),
    "too short": with_last(size=1),
    "another size": with_last(size=2**40),
    "another run": with_last(size=2**40, runs=[[4096, 2]]),
    "parent": with_file("../x"),
    "deep parent": with_file("index/../../x"),
    "absolute": with_file("/tmp/x"),
    "not ours": with_file("LOCK"),
    "backslash": with_file("index\\x/y"),
    "twice": with_file("FORMAT"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_tampered_backup_is_refused_and_leaves_nothing(small: Path, tmp_path: Path, damage: str) -> None:
    file = rebuilt(small, tmp_path / "tampered.tar.gz", DAMAGES[damage])
    target = tmp_path / "home" / "data"
    with pytest.raises(InvalidInput) as refused:
        restore(file, target)
    assert ("newer ragstone" in refused.value.message) is damage.startswith("newer")
    assert not target.exists()
    assert {entry.name for entry in tmp_path.iterdir()} <= {"tampered.tar.gz", "home"}
    with pytest.raises(InvalidInput):
        check(file)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_backup_is_refused(small: Path, tmp_path: Path, share: float) -> None:
    content = small.read_bytes()
    file = tmp_path / "cut.tar.gz"
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InvalidInput):
        restore(file, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777\0"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE])
def test_a_header_that_names_a_strange_size_takes_no_memory(tmp_path: Path, size: bytes, kind: bytes) -> None:
    header = bytearray(tarfile.TarInfo("manifest.json").tobuf(tarfile.USTAR_FORMAT))
    header[124:136], header[156:157], header[148:156] = size, kind, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    file = tmp_path / "strange.tar.gz"
    file.write_bytes(gzip.compress(bytes(header) + bytes(2**26), 1))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput):
            check(file)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("tail", [b"more", gzip.compress(b"more", mtime=0)], ids=["bytes", "gzip"])
def test_a_backup_that_goes_on_is_refused(small: Path, tmp_path: Path, tail: bytes) -> None:
    file = tmp_path / "long.tar.gz"
    file.write_bytes(small.read_bytes() + tail)
    with pytest.raises(InvalidInput):
        check(file)


async def test_only_an_empty_directory_without_an_owner_is_restored_into(small: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.doc").write_text("mine")
    with pytest.raises(DataDirectoryError, match="empty"):
        restore(small, taken)
    assert (taken / "thesis.doc").read_text() == "mine"
    used = open_data_directory(tmp_path / "used")
    with pytest.raises(DataDirectoryError, match="in use"):
        restore(small, tmp_path / "used")
    used.close()
    with pytest.raises(DataDirectoryError, match="empty"):
        restore(small, tmp_path / "used")
    empty = tmp_path / "empty"
    empty.mkdir()
    restore(small, empty)
    open_data_directory(empty).close()
    with pytest.raises(DataDirectoryError, match="empty"):
        restore(small, empty)


@pytest.mark.parametrize("moves", range(6))
def test_a_restore_that_is_killed_leaves_nothing_that_opens_and_can_be_done_again(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """Killed after so many of the moves that put files in their places: without FORMAT, the last one, nothing opens."""

    class Killed(BaseException):
        pass

    target, original = tmp_path / "data", Path.rename
    done: list[str] = []

    def rename(source: Path, to: Path) -> Path:
        if source.parent.name == ".restore" and len(done) == moves:
            raise Killed
        done.append(to.name)
        return original(source, to)

    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(backup_restore, "_clear", lambda _: None)  # a killed process removes nothing
    with pytest.raises(Killed):
        restore(small, target)
    monkeypatch.undo()
    with pytest.raises(DataDirectoryError, match="restore"):
        open_data_directory(target)
    restore(small, target)
    open_data_directory(target).close()
    assert not (target / ".restore").exists()


def test_a_restore_that_fails_leaves_an_empty_directory_empty(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "data"
    target.mkdir()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageFull):
        restore(small, target)
    assert {entry.name for entry in target.iterdir()} <= {"LOCK"}


async def test_an_index_without_its_folder_is_no_collection_that_was_deleted(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a collection that went may be passed over: a live one that can't be copied stops the backup."""

    async def missing(*_: object) -> None:
        raise NotFound("There is no index.")

    monkeypatch.setattr(QdrantEdgeIndex, "copy", missing)
    assert isinstance(world.platform.adapters.backup, EmbeddedBackup)
    with pytest.raises(Conflict):
        await world.platform.backups.take()
    await world.end(world.platform)
