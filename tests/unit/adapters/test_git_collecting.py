"""Forgetting and collecting in the Git version store: nothing of a document is left, Git's own tools still work, and a crash loses nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragstone.adapters import git_objects, git_tree
from ragstone.adapters.git import GitVersionStore
from ragstone.domain.documents import DocumentInfo, ExtractedText, StoredDocument, checksum
from ragstone.domain.errors import DataDirectoryError, NotFound, StorageFull
from tests.unit.adapters.test_git import git

REPO = "c0ffee"
CANARY = "xylocanary"
SECRET = f"{CANARY}.md"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[GitVersionStore]:
    adapter = GitVersionStore(tmp_path)
    await adapter.create(REPO)
    yield adapter
    await adapter.close()


def document(path: str, text: str = "Text.") -> StoredDocument:
    content = text.encode()
    info = DocumentInfo(path, "text/plain", len(content), checksum(content), {"owner": text[:20]}, text[:20])
    return StoredDocument(info, content, ExtractedText(text, (), "text/1", text[:20]))


async def history(store: GitVersionStore, length: int = 6) -> list[str]:
    """Commits of 40 documents and one that changes. The canary is in those from the second to the last but one."""
    commits: list[str] = []
    for seq in range(1, length + 1):
        puts = [document(f"{i}", f"{i} {seq}") for i in range(40 if seq == 1 else seq % 5)]
        puts += [document(SECRET, f"{CANARY} {seq}")] if 1 < seq < length else []
        removes = [SECRET] if seq == length else []
        base = commits[-1] if commits else None
        commit = await store.stage(REPO, seq, base, puts, removes, author="Ada <a@example.org>", message=f"no. {seq}", metadata={})
        assert commit is not None
        await store.advance(REPO, commit, seq)
        commits.append(commit)
    return commits


async def contents(store: GitVersionStore, commit: str) -> dict[str, bytes]:
    return {info.path: (await store.read(REPO, commit, info.path)).content for info in await store.documents(REPO, commit)}


def everything(tmp_path: Path) -> bytes:
    """All objects and all files, packed or not."""
    repository = tmp_path / f"{REPO}.git"
    executable = shutil.which("git")
    assert executable
    command = [executable, "cat-file", "--batch-all-objects", "--batch"]
    objects = subprocess.run(command, cwd=repository, capture_output=True, check=True).stdout
    return objects + b"".join(file.read_bytes() for file in repository.rglob("*") if file.is_file())


def packs(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / f"{REPO}.git" / "objects" / "pack").iterdir()}


async def test_no_byte_of_a_forgotten_document_is_left_after_collecting(store: GitVersionStore, tmp_path: Path) -> None:
    commits = await history(store)
    assert await store.forget(REPO, SECRET, commits) == 4
    assert CANARY.encode() in await asyncio.to_thread(everything, tmp_path)
    before = [await contents(store, commit) for commit in commits]
    await store.collect(REPO, commits)
    assert CANARY.encode() not in await asyncio.to_thread(everything, tmp_path)
    for reopened in (False, True):
        if reopened:
            await store.close()
            store = GitVersionStore(tmp_path)
        assert [await contents(store, commit) for commit in commits] == before
        assert [await store.count(REPO, commit) for commit in commits] == [40] * 6
    await store.close()


async def test_git_finds_nothing_wrong_after_pruning(store: GitVersionStore, tmp_path: Path) -> None:
    commits = await history(store, 9)
    waiting = await store.stage(REPO, 10, commits[-1], [document("w")], [], author="a", message="m", metadata={})
    await store.collect(REPO, [commits[1], commits[4], commits[6], commits[7]])
    repository = tmp_path / f"{REPO}.git"
    assert git(repository, "fsck", "--full", "--strict", "--no-dangling") == ""
    assert git(repository, "log", "--format=%H", "main").split() == [commits[8], commits[7], commits[6]]
    assert git(repository, "log", "--format=%s", commits[4]).split("\n")[0] == "no. 5"
    kept = git(repository, "for-each-ref", "--format=%(refname:lstrip=3)", "refs/ragstone/kept").split()
    assert sorted(kept) == sorted([commits[1], commits[4]])
    for name, options in {"deep": (), "shallow": ("--depth", "1", "--no-local")}.items():
        git(tmp_path, "clone", "-q", "--bare", *options, "--branch", "main", str(repository), name)
        assert git(tmp_path / name, "fsck", "--full", "--no-dangling") == ""
    assert waiting is not None
    assert waiting in git(repository, "log", "--format=%H", "attempt/10")
    await store.collect(REPO, [commits[1]])  # what is kept no more loses its ref
    assert git(repository, "for-each-ref", "--format=%(refname:lstrip=3)", "refs/ragstone/kept").split() == [commits[1]]
    assert git(repository, "fsck", "--full", "--strict", "--no-dangling") == ""


async def test_git_finds_nothing_wrong_after_forgetting(store: GitVersionStore, tmp_path: Path) -> None:
    commits = await history(store)
    await store.forget(REPO, SECRET, commits)
    await store.collect(REPO, commits)
    repository = tmp_path / f"{REPO}.git"
    assert git(repository, "fsck", "--full", "--strict", "--no-dangling") == ""
    shown = git(repository, "log", "-1", "--format=%H %P %an %s %(trailers:key=Documents,valueonly)", commits[2]).split()
    assert shown == [commits[2], commits[1], "Ada", "no.", "3", "40"]
    names = git(repository, "ls-tree", "-r", "--name-only", commits[2]).split()
    assert len([name for name in names if name.endswith(".json")]) == 40
    git(tmp_path, "clone", "-q", "--bare", "--no-local", "--branch", "main", str(repository), "clone")
    assert git(tmp_path / "clone", "fsck", "--full", "--no-dangling") == ""
    git(repository, "gc", "-q", "--prune=now")  # a person's own collection finds everything that is needed
    again = GitVersionStore(tmp_path)
    for commit in commits:
        assert len(await contents(again, commit)) == 40
    await again.close()


async def test_ordinary_use_goes_on_after_pruning_and_forgetting(store: GitVersionStore, tmp_path: Path) -> None:
    commits = await history(store)
    await store.forget(REPO, SECRET, commits)
    await store.collect(REPO, commits[3:])
    await store.forget(REPO, "7", [commits[4], commits[0]])  # replaces a replacement; the first is gone
    await store.collect(REPO, commits[3:])
    later = commits[-1]
    for seq in range(7, 30):
        later = await store.stage(REPO, seq, later, [document("a", f"{seq}")], [], author="a", message="m", metadata={}) or ""
        await store.advance(REPO, later, seq)
    await store.collect(REPO, [commits[4], later])
    assert sorted(await contents(store, commits[4])) == sorted(f"{i}" for i in range(40) if i != 7)
    assert git(tmp_path / f"{REPO}.git", "fsck", "--full", "--strict", "--no-dangling") == ""
    assert git(tmp_path / f"{REPO}.git", "for-each-ref", "--format=%(refname:lstrip=2)", "refs/replace").split() == [commits[4]]
    await store.close()
    again = GitVersionStore(tmp_path)
    assert len(await contents(again, commits[4])) == 39
    assert await again.count(REPO, commits[4]) == 39
    await again.close()


async def test_what_people_made_in_the_repository_is_kept(store: GitVersionStore, tmp_path: Path) -> None:
    commits = await history(store)
    repository = tmp_path / f"{REPO}.git"
    blob = await asyncio.to_thread(loose_blob, repository, "loose")
    tree = await asyncio.to_thread(loose_tree, repository, blob)
    environment = ("-c", "user.name=p", "-c", "user.email=p@example.org")
    theirs = git(repository, *environment, "commit-tree", tree, "-p", commits[1], "-m", "theirs").strip()
    git(repository, "update-ref", "refs/heads/inbox", theirs)
    git(repository, *environment, "tag", "-a", "-m", "annotated", "old", commits[2])
    git(repository, "pack-refs", "--all")
    before = await contents(store, commits[2])
    await store.forget(REPO, "nothing", commits)
    await store.collect(REPO, [])
    assert await contents(store, commits[2]) == before
    assert git(repository, "show", "inbox:file") == "loose"
    assert git(repository, "fsck", "--full", "--no-dangling") == ""
    assert list((repository / "objects").glob("??/*")) == []
    assert await store.main(REPO) == commits[-1]
    with pytest.raises(NotFound):
        await store.read(REPO, commits[1], "1")


def loose_blob(repository: Path, text: str) -> str:
    (repository / "description").write_text(text)
    return git(repository, "hash-object", "-w", "description").strip()


def loose_tree(repository: Path, blob: str) -> str:
    executable = shutil.which("git")
    assert executable
    line = f"100644 blob {blob}\tfile\n"
    return subprocess.run([executable, "mktree"], cwd=repository, input=line, capture_output=True, text=True, check=True).stdout.strip()


async def test_what_would_be_freed_is_what_is_freed(store: GitVersionStore, tmp_path: Path) -> None:
    commits = await history(store, 12)
    would = await store.collectable(REPO, commits[8:])
    before = sum(path.stat().st_size for path in (tmp_path / f"{REPO}.git" / "objects").rglob("*") if path.is_file())
    freed = await store.collect(REPO, commits[8:])
    after = sum(path.stat().st_size for path in (tmp_path / f"{REPO}.git" / "objects").rglob("*") if path.is_file())
    assert freed == before - after > 0
    assert abs(would - freed) < 0.02 * freed


async def test_what_is_not_worth_it_is_not_written_again(store: GitVersionStore, tmp_path: Path) -> None:
    commits = await history(store)
    before = packs(tmp_path)
    assert await store.collect(REPO, commits) == 0
    assert packs(tmp_path) == before


async def test_a_missing_object_of_a_kept_commit_stays_damage_and_nothing_is_dropped(store: GitVersionStore, tmp_path: Path) -> None:
    commits = await history(store)
    await store.close()
    directory = tmp_path / f"{REPO}.git" / "objects" / "pack"
    first = max(directory.glob("*.pack"), key=lambda path: path.stat().st_size)  # of what did not change since
    for path in (first, first.with_suffix(".idx")):
        path.unlink()
    again = GitVersionStore(tmp_path)
    before = packs(tmp_path)
    with pytest.raises(DataDirectoryError):
        await again.read(REPO, commits[1], "39")
    with pytest.raises(DataDirectoryError):
        await again.collect(REPO, [commits[1]])
    assert packs(tmp_path) == before
    await again.close()


async def test_a_full_disk_changes_nothing(store: GitVersionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = await history(store)
    before = [await contents(store, commit) for commit in commits]

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            await store.collect(REPO, [])
        with pytest.raises(StorageFull):
            await store.forget(REPO, SECRET, commits)
    assert [await contents(store, commit) for commit in commits] == before
    assert await store.forget(REPO, SECRET, commits) == 4
    assert await store.collect(REPO, commits) > 0


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from ragstone.adapters import git_objects
from ragstone.adapters.git import GitVersionStore
from ragstone.adapters.git_objects import GitObjects
from ragstone.adapters.git_refs import GitRefs
from tests.unit.adapters.test_git_collecting import REPO, SECRET, history

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    store = GitVersionStore(Path(sys.argv[1]))
    await store.create(REPO)
    commits = await history(store)
    await store.forget(REPO, SECRET, commits[2:])
    print(*commits, flush=True)
    real = Path.unlink
    match sys.argv[2]:
        case "copied":
            GitRefs.change = die
        case "told":
            GitObjects.drop = die
        case "written down":
            git_objects._finish_dropping = die
        case "half dropped":
            dropped = []
            def unlink(self, missing_ok=False):
                if self.parent.name == "pack":
                    dropped.append(self)
                    if len(dropped) == 5:
                        die()
                real(self, missing_ok=missing_ok)
            Path.unlink = unlink
        case "dropped":
            finish = git_objects._finish_dropping
            git_objects._finish_dropping = lambda directory: die(finish(directory))
    await store.collect(REPO, commits[4:])

asyncio.run(main())
"""


def killed_at(tmp_path: Path, place: str) -> list[str]:
    command = [sys.executable, "-c", KILLED, str(tmp_path), place, *sys.path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("place", ["copied", "told", "written down", "half dropped", "dropped"])
async def test_a_kill_in_the_middle_of_it_loses_nothing(tmp_path: Path, place: str) -> None:
    commits = await asyncio.to_thread(killed_at, tmp_path, place)
    store = GitVersionStore(tmp_path)
    expected = {f"{i}" for i in range(40)}
    assert [(await contents(store, commit)).keys() for commit in commits[4:]] == [expected, expected]
    for seq, commit in enumerate(commits[:4]):
        if place in ("copied", "told"):
            assert (await contents(store, commit)).keys() == expected | ({SECRET} if seq == 1 else set())
        else:
            with pytest.raises(NotFound):
                await store.documents(REPO, commit)
    await store.collect(REPO, commits[4:])
    assert CANARY.encode() not in await asyncio.to_thread(everything, tmp_path)
    assert [(await contents(store, commit)).keys() for commit in commits[4:]] == [expected, expected]
    assert git(tmp_path / f"{REPO}.git", "fsck", "--full", "--strict", "--no-dangling") == ""
    assert await store.main(REPO) == commits[-1]
    assert not (tmp_path / f"{REPO}.git" / "objects" / "info" / "ragstone-doomed").exists()
    await store.close()


async def test_a_read_that_meets_the_collection_is_told_so(store: GitVersionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = await history(store)
    find = git_tree.find
    loop = asyncio.get_running_loop()

    def collected_meanwhile(read: git_tree.ReadObject, root: bytes, paths: list[str]) -> dict[str, bytes]:
        monkeypatch.undo()
        asyncio.run_coroutine_threadsafe(store.collect(REPO, []), loop).result()
        return find(read, root, paths)

    monkeypatch.setattr(git_tree, "find", collected_meanwhile)
    with pytest.raises(NotFound, match="pruned"):
        await store.read(REPO, commits[2], "1")


def test_names_of_files_to_drop_do_not_lead_out_of_the_repository(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    for folder in ("pack", "info"):
        (objects / folder).mkdir(parents=True)
    outside = tmp_path / "precious"
    for file in (outside, objects / "pack" / "pack-1.pack"):
        file.touch()
    (objects / "info" / "ragstone-doomed").write_text("../precious\npack/../../precious\npack/pack-1.pack\npack/absent.idx\n")
    git_objects._finish_dropping(objects)
    assert outside.exists()
    assert not (objects / "pack" / "pack-1.pack").exists()
