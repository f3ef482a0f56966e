"""One bare Git repository: commits, branches and reads, blocking. `git.py` puts it behind the port."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from dulwich.file import FileLocked
from dulwich.object_store import DiskObjectStore
from dulwich.objects import Commit, ObjectID, ShaFile
from dulwich.refs import Ref
from dulwich.repo import Repo

from ragstone.adapters import git_tree
from ragstone.adapters.durable_files import sync_directory, write_durably
from ragstone.adapters.git_objects import GitObjects, sweep
from ragstone.domain.commits import DocumentChange
from ragstone.domain.documents import StoredDocument
from ragstone.domain.errors import Conflict, NotFound, Unavailable

T = TypeVar("T")
_COMMIT, _TREE, _BLOB = 1, 2, 3
_MAIN = Ref(b"refs/heads/main")
_COUNT = "Documents"
_LOCK_TRIES, _LOCK_PAUSE = 50, 0.02  # a person may be pushing to the repository: seconds


@dataclass(frozen=True, slots=True)
class About:
    """What a commit says of itself; `metadata` becomes trailers of the message."""

    author: str
    message: str
    metadata: Mapping[str, str]


class GitRepository:
    """Thread-safe: writes take turns, reads do not wait for them."""

    def __init__(self, path: Path) -> None:
        sweep(path)
        self._path = path
        self._repo = Repo(str(path))
        store = self._repo.object_store
        assert isinstance(store, DiskObjectStore)  # noqa: S101 - a repository on disk has one
        self.objects = GitObjects(store)
        self._writing = threading.Lock()

    @staticmethod
    def create(path: Path) -> None:
        """An empty bare repository whose HEAD is `main`; appears whole or not at all."""
        fresh = path.with_name(f".{path.name}.new")
        fresh.mkdir()
        Repo.init_bare(str(fresh), default_branch=b"main").close()
        fresh.rename(path)
        sync_directory(path.parent)

    def stage(self, attempt: int, base: str | None, puts: Sequence[StoredDocument], removes: Iterable[str], about: About) -> str | None:
        """See the port."""
        with self._writing:
            root, count = self.root(base), self.count(base)
            built = git_tree.build(self.blob, root, {document.info.path: document for document in puts}, removes)
            if built.id == root:
                return None
            return self._commit(attempt, base, built.id, built.objects, count + built.growth, about)

    def restore(self, attempt: int, base: str | None, target: str, about: About) -> str | None:
        """See the port."""
        with self._writing:
            root = self.root(target)
            if root == self.root(base):
                return None
            return self._commit(attempt, base, root, [], self.count(target), about)

    def advance(self, commit: str, attempt: int | None) -> None:
        """See the port. Raises `Conflict` when `main` is neither behind nor ahead of `commit`."""
        with self._writing:
            self._load(commit)
            main = self._ref(_MAIN)
            if main is None or (main != commit and self._is_ahead(commit, main)):
                self._set_ref(_MAIN, commit)
        if attempt is not None:
            self.drop_attempts([attempt])

    def main(self) -> str | None:
        """The commit that `main` points to."""
        return self._ref(_MAIN)

    def attempts(self) -> list[int]:
        """Numbers of the attempts that have a branch."""
        names = (name.rsplit(b"/", 1)[-1] for name in self._repo.refs.subkeys(Ref(b"refs/heads/attempt")))
        return sorted(int(name) for name in names if name.isdigit())

    def drop_attempts(self, attempts: Iterable[int]) -> None:
        """Deletes branches; absent ones are fine."""
        with self._writing:
            for attempt in attempts:
                ref = _attempt_ref(attempt)
                (self._path / ref.decode()).unlink(missing_ok=True)
                if self._ref(ref) is not None:  # someone ran `git pack-refs`
                    self._patiently(partial(self._repo.refs.remove_if_equals, ref, None))

    def root(self, commit: str | None) -> bytes:
        """The id of a commit's tree; of the empty tree for None."""
        return git_tree.EMPTY if commit is None else self._load(commit).tree

    def count(self, commit: str | None) -> int:
        """Documents in a commit: its own trailer says it, so that nothing need be counted."""
        if commit is None:
            return 0
        loaded = self._load(commit)
        written = re.search(rf"^{_COUNT}: (\d+)$".encode(), loaded.message.rstrip().rsplit(b"\n", 1)[-1])
        return int(written[1]) if written else len(git_tree.lines(self.blob, loaded.tree))

    def diff(self, before: str | None, after: str) -> list[DocumentChange]:
        """See the port."""
        return git_tree.diff(self.blob, self.root(before), self.root(after))

    def blob(self, object_id: bytes) -> bytes:
        """The bytes of a blob or tree that a commit refers to."""
        return self.objects.read(object_id)[1]

    def close(self) -> None:
        """Closes its files."""
        self.objects.close()
        self._repo.close()

    def _commit(self, attempt: int, base: str | None, root: bytes, objects: list[ShaFile], count: int, about: About) -> str:
        commit = Commit()
        commit.tree = ObjectID(root)
        commit.parents = [ObjectID(base.encode())] if base else []
        commit.author = commit.committer = _identity(about.author)
        commit.author_time = commit.commit_time = int(time.time())
        commit.author_timezone = commit.commit_timezone = 0
        commit.encoding = b"UTF-8"
        commit.message = _message(about, count)
        self.objects.write([*objects, commit])
        self._set_ref(_attempt_ref(attempt), commit.id.decode())
        return commit.id.decode()

    def _load(self, commit: str) -> Commit:
        try:
            kind, raw = self.objects.read(commit.encode()) if re.fullmatch(r"[0-9a-f]{40}", commit) else (_BLOB, b"")
        except KeyError:
            kind = _BLOB
        if kind != _COMMIT:
            raise NotFound(f"the version store has no commit {commit[:64]!r}.", field="commit")
        return Commit.from_string(raw)

    def _is_ahead(self, commit: str, main: str) -> bool:
        """Whether `commit` descends from `main`; False when it is the other way round. Looks both ways, nearest first."""
        up, down = self._ancestors(commit), self._ancestors(main)
        above: str | None = commit
        below: str | None = main
        while above is not None or below is not None:
            if above is not None and (above := next(up, None)) == main:
                return True
            if below is not None and (below := next(down, None)) == commit:
                return False
        raise Conflict("main has commits that ragstone did not make; move them to another branch and main back to the head.")

    def _ancestors(self, commit: str) -> Iterator[str]:
        parents = self._load(commit).parents
        while parents:
            yield parents[0].decode()
            parents = self._load(parents[0].decode()).parents

    def _ref(self, ref: Ref) -> str | None:
        value = self._repo.refs.read_ref(ref)
        return value.decode() if value else None

    def _set_ref(self, ref: Ref, new: str) -> None:
        """Durable, under Git's own lock. Not dulwich's set_if_equals: when the disk is full it leaves its lock behind."""
        path = self._path / ref.decode()
        if not path.parent.exists():
            path.parent.mkdir()
            sync_directory(path.parent.parent)
        self._patiently(lambda: write_durably(path, f"{new}\n".encode(), path.with_name(f"{path.name}.lock")))
        sync_directory(path.parent)

    @staticmethod
    def _patiently(operation: Callable[[], T]) -> T:
        for _ in range(_LOCK_TRIES):
            try:
                return operation()
            except (FileLocked, FileExistsError):
                time.sleep(_LOCK_PAUSE)
        raise Unavailable("a branch of the version store stays locked; remove what else writes to it.")


def _attempt_ref(attempt: int) -> Ref:
    return Ref(b"refs/heads/attempt/%d" % attempt)


def _identity(author: str) -> bytes:
    """`Name <address>` as Git wants it: one line, no other angle brackets."""
    one_line = " ".join("".join(c if c.isprintable() else " " for c in author).split())
    parts = re.fullmatch(r"(.*?)\s*<([^<>\s]*)>", one_line)
    name, address = (parts[1], parts[2]) if parts else (one_line, "")
    clean = re.sub("[<>]", "", name).strip(" .,:;\"'") or "anonymous"
    return f"{clean} <{address}>".encode("utf-8", "replace")


def _message(about: About, count: int) -> bytes:
    body = about.message.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").strip() or "(no message)"
    trailers = [f"{re.sub('[^A-Za-z0-9-]', '-', key)}: {' '.join(value.split())}" for key, value in about.metadata.items()]
    return "\n".join([body, "", *trailers, f"{_COUNT}: {count}", ""]).encode("utf-8", "replace")
