"""The Git version store's files: readable by Git, whole after a crash, small in number, and the tree a function of the documents."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from dulwich.objects import ShaFile
from dulwich.pack import write_pack_index
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.adapters import git_objects, git_tree
from ragstone.adapters.git import GitVersionStore
from ragstone.domain.documents import DocumentInfo, ExtractedText, StoredDocument, checksum
from ragstone.domain.errors import DataDirectoryError, StorageFull, Unavailable

REPO = "c0ffee"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[GitVersionStore]:
    adapter = GitVersionStore(tmp_path)
    await adapter.create(REPO)
    yield adapter
    await adapter.close()


def document(path: str, text: str = "Text.") -> StoredDocument:
    content = text.encode()
    return StoredDocument(DocumentInfo(path, "text/plain", len(content), checksum(content)), content, ExtractedText(text, (), "text/1"))


async def stage(store: GitVersionStore, attempt: int, base: str | None, *puts: StoredDocument) -> str:
    commit = await store.stage(REPO, attempt, base, puts, [], author="Ada <ada@example.org>", message="why", metadata={"Job": "j1"})
    assert commit is not None
    return commit


def git(directory: Path, *arguments: str) -> str:
    executable = shutil.which("git")
    assert executable, "the tests need git"
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run([executable, *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


class Memory:
    """Objects in a dict, for trees without a repository."""

    def __init__(self) -> None:
        self.objects: dict[bytes, bytes] = {}

    def build(self, base: bytes, puts: dict[str, StoredDocument], removes: list[str]) -> git_tree.Built:
        built = git_tree.build(self.objects.__getitem__, base, puts, removes)
        self.objects.update({each.id: each.as_raw_string() for each in built.objects})
        return built


STEPS = st.lists(
    st.tuples(st.dictionaries(st.integers(0, 30), st.sampled_from("xyz"), max_size=6), st.lists(st.integers(0, 30), max_size=4)),
    min_size=1,
    max_size=6,
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_a_tree_depends_on_its_documents_alone(steps: list[tuple[dict[int, str], list[int]]]) -> None:
    memory = Memory()
    root: bytes = git_tree.EMPTY
    expected: dict[str, StoredDocument] = {}
    for puts, removes in steps:
        documents = {f"d{number}": document(f"d{number}", text) for number, text in puts.items()}
        removed = [f"d{number}" for number in removes]
        built = memory.build(root, documents, removed)
        before = expected
        expected = {path: each for path, each in (expected | documents).items() if path not in removed}
        assert built.growth == len(expected) - len(before)
        changed = {path for path in before.keys() | expected.keys() if before.get(path) != expected.get(path)}
        assert {change.path for change in git_tree.diff(memory.objects.__getitem__, root, built.id)} == changed
        root = built.id
    assert root == memory.build(git_tree.EMPTY, expected, []).id
    assert [path for path, _ in git_tree.lines(memory.objects.__getitem__, root)] == sorted(expected)


def test_the_objects_of_a_small_change_do_not_grow_with_the_collection() -> None:
    memory = Memory()
    sizes = []
    root: bytes = git_tree.EMPTY
    for count in (500, 8_000):
        root = memory.build(root, {f"d{i}": document(f"d{i}") for i in range(count)}, []).id
        built = memory.build(root, {"d7": document("d7", "changed")}, [])
        sizes.append((len(built.objects), sum(each.raw_length() for each in built.objects)))
    assert [count for count, _ in sizes] == [6, 6]  # two blobs, manifest, blobs' tree, two levels above it
    assert max(size for _, size in sizes) < 10_000


async def test_git_itself_finds_nothing_wrong(store: GitVersionStore, tmp_path: Path) -> None:
    first = await stage(store, 1, None, *(document(f"dir/{i}", f"{i}") for i in range(100)))
    await store.advance(REPO, first, 1)
    second = await stage(store, 2, first, document("dir/3", "new"))
    assert "error" not in git(tmp_path / f"{REPO}.git", "fsck", "--full", "--strict", "--no-dangling")
    shown = git(
        tmp_path / f"{REPO}.git",
        "log",
        "-1",
        "--format=%an|%ae|%P|%(trailers:key=Job,valueonly)|%(trailers:key=Documents,valueonly)",
        second,
    )
    assert shown.split("|") == ["Ada", "ada@example.org", first, "j1\n", "100\n\n"]
    assert git(tmp_path / f"{REPO}.git", "symbolic-ref", "HEAD").strip() == "refs/heads/main"


async def test_packs_stay_few_and_each_is_rewritten_seldom(store: GitVersionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    real = git_objects.GitObjects._write_pack

    def count(self: git_objects.GitObjects, objects: Iterator[ShaFile], number: int) -> None:
        nonlocal written
        written += number
        real(self, objects, number)

    monkeypatch.setattr(git_objects.GitObjects, "_write_pack", count)
    base = await stage(store, 1, None, *(document(f"{i}") for i in range(2000)))
    bulk = written
    for attempt in range(2, 102):
        base = await stage(store, attempt, base, document("a", f"{attempt}"))
    await store.close()
    assert len(list((tmp_path / f"{REPO}.git" / "objects" / "pack").glob("*.pack"))) <= 17
    assert written - bulk < 100 * 7 * 5  # not the bulk again and again


async def test_many_packs_are_merged_while_reads_go_on(store: GitVersionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_objects, "_PACKS_AT_MOST", 4)
    base: str | None = None
    for attempt in range(12):
        base = await stage(store, attempt, base, *(document(f"{attempt}/{i}", f"{attempt} {i}") for i in range(60)))
        read = await asyncio.gather(*(store.read(REPO, base, f"{attempt}/{i}") for i in range(0, 60, 20)))
        assert [each.content for each in read] == [f"{attempt} {i}".encode() for i in range(0, 60, 20)]
    await store.close()  # waits for the merging
    repository = tmp_path / f"{REPO}.git"
    assert 1 <= len(list((repository / "objects" / "pack").glob("*.pack"))) <= 5
    assert "error" not in git(repository, "fsck", "--full", "--no-dangling")
    again = GitVersionStore(tmp_path)
    assert base is not None
    assert await again.count(REPO, base) == 720
    assert (await again.read(REPO, base, "0/7")).content == b"0 7"
    await again.close()


async def test_a_pack_that_is_being_written_is_not_read(store: GitVersionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    base = await stage(store, 1, None, document("a"))
    real = write_pack_index
    objects = store._repository(REPO).objects

    def half_written(file: BinaryIO, entries: list[tuple[bytes, int, int]], digest: bytes) -> None:
        file.write(b"\xfftOc\0\0\0\2 and so on")
        file.flush()
        with pytest.raises(KeyError):  # it was looked for in every pack
            objects.read(b"0" * 40)
        file.seek(0)
        file.truncate()
        real(file, entries, digest)

    monkeypatch.setattr(git_objects, "write_pack_index", half_written)
    commit = await stage(store, 2, base, document("b"))
    assert await store.count(REPO, commit) == 2


async def test_a_full_disk_is_said_so_and_changes_nothing(store: GitVersionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    base = await stage(store, 1, None, document("a"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            await stage(store, 2, base, document("b"))
    assert await store.attempts(REPO) == [1]
    commit = await stage(store, 2, base, document("b"))
    assert await store.count(REPO, commit) == 2


async def test_other_trouble_of_the_disk_is_unavailable(store: GitVersionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(Unavailable):
        await stage(store, 1, None, document("a"))


async def test_a_broken_object_is_damage(store: GitVersionStore, tmp_path: Path) -> None:
    commit = await stage(store, 1, None, document("a", "text " * 1000), document("b", "other " * 1000))
    await store.close()
    pack = next((tmp_path / f"{REPO}.git" / "objects" / "pack").glob("*.pack"))
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 0xFF
    pack.write_bytes(content)
    again = GitVersionStore(tmp_path)
    with pytest.raises(DataDirectoryError):
        await asyncio.gather(*(again.read(REPO, commit, path) for path in ("a", "b")))
    await again.close()


async def test_every_write_is_synced_before_it_is_acknowledged(
    store: GitVersionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    repository = tmp_path / f"{REPO}.git"
    first = await stage(store, 1, None, *(document(f"{i}") for i in range(100)))
    second = await stage(store, 2, first, document("a"))
    await store.advance(REPO, second, 2)
    written = [
        *(repository / "objects" / "pack").glob("pack-*"),
        *(repository / "refs/heads" / name for name in ("main", "attempt/1")),
    ]
    assert len(written) == 6
    for path in written:
        assert path.stat().st_ino in synced, path
    for path in written:
        assert path.parent.stat().st_ino in synced, path.parent


async def test_what_a_killed_process_left_does_not_stand_in_the_way(store: GitVersionStore, tmp_path: Path) -> None:
    commit = await stage(store, 1, None, document("a"))
    await store.close()
    repository = tmp_path / f"{REPO}.git"
    remains = [
        "refs/heads/main.lock",
        "refs/heads/attempt/2.lock",
        "packed-refs.lock",
        "objects/pack/tmp_x.pack",
        "objects/pack/pack-1.pack",
    ]
    for name in remains:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_bytes(b"half")
    (tmp_path / ".beef.git.new").mkdir()
    again = GitVersionStore(tmp_path)
    await again.advance(REPO, commit, 1)
    assert await again.main(REPO) == commit
    await again.stage(REPO, 2, commit, [document("b")], [], author="a", message="m", metadata={})
    await again.create("beef")
    assert await again.main("beef") is None
    assert not [path for path in repository.rglob("*") if path.suffix == ".lock" or path.name in ("tmp_x.pack", "pack-1.pack", "tmp_obj_1")]
    await again.close()


async def test_a_lock_that_stays_makes_it_unavailable(store: GitVersionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.adapters.git_refs._LOCK_PAUSE", 0.0)
    commit = await stage(store, 1, None, document("a"))
    (tmp_path / f"{REPO}.git" / "refs" / "heads" / "main.lock").touch()
    with pytest.raises(Unavailable):
        await store.advance(REPO, commit, 1)


async def test_staged_and_advanced_commits_survive_a_kill(tmp_path: Path) -> None:
    acknowledged = await asyncio.to_thread(_write_until_killed, tmp_path)
    store = GitVersionStore(tmp_path)
    main = await store.main(REPO)
    assert main is not None
    assert await store.count(REPO, acknowledged[-1]) == 5 * 81 + 4
    await store.advance(REPO, acknowledged[-1])  # main is there already or ahead
    assert await store.main(REPO) == main
    assert "error" not in git(tmp_path / f"{REPO}.git", "fsck", "--full", "--no-dangling")
    await store.close()


def _write_until_killed(directory: Path) -> list[str]:
    script = textwrap.dedent("""
        import asyncio, os, signal, sys
        from pathlib import Path
        from ragstone.adapters.git import GitVersionStore
        from tests.unit.adapters.test_git import REPO, document

        async def main():
            store = GitVersionStore(Path(sys.argv[1]))
            await store.create(REPO)
            base = None
            for attempt in range(1, 1000):
                puts = [document(f"{attempt}/{i}") for i in range(1 + attempt % 2 * 80)]
                base = await store.stage(REPO, attempt, base, puts, [], author="a", message="m", metadata={})
                await store.advance(REPO, base, attempt)
                print(base, flush=True)

        asyncio.run(main())
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script, str(directory)], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        acknowledged = [process.stdout.readline().strip() for _ in range(9)]
        process.kill()
    return acknowledged
