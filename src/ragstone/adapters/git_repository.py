"""One bare Git repository: commits, branches and reads, blocking. `git.py` puts it behind the port."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dulwich.object_store import DiskObjectStore
from dulwich.objects import Commit, ObjectID, ShaFile
from dulwich.refs import Ref
from dulwich.repo import Repo

from ragstone.adapters import git_tree
from ragstone.adapters.durable_files import sync_directory
from ragstone.adapters.git_objects import GitObjects, sweep
from ragstone.adapters.git_refs import ATTEMPTS, MAIN, REPLACE, GitRefs
from ragstone.domain.commits import DocumentChange
from ragstone.domain.documents import StoredDocument
from ragstone.domain.errors import Conflict, NotFound

_COMMIT = 1
_COUNT = "Documents"
_TRAILER = re.compile(rf"^{_COUNT}: (\d+)\n*\Z".encode(), re.MULTILINE)


@dataclass(frozen=True, slots=True)
class About:
    """What a commit says of itself; `metadata` becomes trailers of the message."""

    author: str
    message: str
    metadata: Mapping[str, str]


class GitRepository:
    """Thread-safe: writes take turns, reads do not wait for them.

    `writing` is held while commits are made and branches moved; `maintaining`, taken before it, by what takes documents or objects away.
    `replaced`: commits that are read as others, which lack what was forgotten.
    """

    def __init__(self, path: Path) -> None:
        sweep(path)
        self.path = path
        self._repo = Repo(str(path))
        store = self._repo.object_store
        assert isinstance(store, DiskObjectStore)  # noqa: S101 - a repository on disk has one
        self.objects = GitObjects(store)
        self.refs = GitRefs(path, self._repo.refs)
        self.writing = threading.Lock()
        self.maintaining = threading.Lock()
        self.replaced = self.refs.under(REPLACE)

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
        with self.writing:
            root, count = self.root(base), self.count(base)
            built = git_tree.build(self.blob, root, {document.info.path: document for document in puts}, removes)
            if built.id == root:
                return None
            return self._commit(attempt, base, built.id, built.objects, count + built.growth, about)

    def restore(self, attempt: int, base: str | None, target: str, about: About) -> str | None:
        """See the port."""
        with self.writing:
            root = self.root(target)
            if root == self.root(base):
                return None
            return self._commit(attempt, base, root, [], self.count(target), about)

    def advance(self, commit: str, attempt: int | None) -> None:
        """See the port. Raises `Conflict` when `main` is neither behind nor ahead of `commit`."""
        with self.writing:
            self.load(commit)
            main = self.refs.get(MAIN)
            if main is None or (main != commit and self._is_ahead(commit, main)):
                self.refs.set(MAIN, commit)
        if attempt is not None:
            self.drop_attempts([attempt])

    def main(self) -> str | None:
        """The commit that `main` points to."""
        return self.refs.get(MAIN)

    def attempts(self) -> list[int]:
        """Numbers of the attempts that have a branch."""
        return sorted(int(name) for name in self.refs.under(ATTEMPTS) if name.isdigit())

    def drop_attempts(self, attempts: Iterable[int]) -> None:
        """Deletes branches; absent ones are fine."""
        with self.writing:
            for attempt in attempts:
                self.refs.remove(_attempt_ref(attempt))

    def root(self, commit: str | None) -> bytes:
        """The id of a commit's tree; of the empty tree for None. Raises `NotFound` when it was collected."""
        if commit is None:
            return git_tree.EMPTY
        tree: bytes = self.load(commit).tree
        if tree != git_tree.EMPTY and not self.objects.hold(tree):
            if not (self.path / "shallow").exists():  # nothing was ever collected
                raise KeyError(tree)
            raise NotFound("the documents of this commit were pruned; ask for another commit.", field="commit")
        return tree

    @contextmanager
    def reading(self, *commits: str | None) -> Iterator[None]:
        """For reads of several objects: raises `NotFound` when one of `commits` is collected meanwhile."""
        try:
            yield
        except KeyError:
            for commit in commits:
                self.root(commit)
            raise

    def count(self, commit: str | None) -> int:
        """Documents in a commit: its own trailer says it, so that nothing need be counted."""
        if commit is None:
            return 0
        with self.reading(commit):
            root, written = self.root(commit), _TRAILER.search(self.load(commit).message)
            return int(written[1]) if written else len(git_tree.lines(self.blob, root))

    def diff(self, before: str | None, after: str) -> list[DocumentChange]:
        """See the port."""
        with self.reading(before, after):
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
        self.refs.set(_attempt_ref(attempt), commit.id.decode())
        return commit.id.decode()

    def load(self, commit: str) -> Commit:
        """The commit as it reads, that is without what was forgotten. Raises `NotFound`."""
        if (replacement := self.replaced.get(commit)) is not None and (found := self._commit_object(replacement)) is not None:
            return found
        if re.fullmatch(r"[0-9a-f]{40}", commit) and (found := self._commit_object(commit)) is not None:
            return found
        raise NotFound(f"the version store has no commit {commit[:64]!r}.", field="commit")

    def _commit_object(self, commit: str) -> Commit | None:
        try:
            kind, raw = self.objects.read(commit.encode())
        except KeyError:
            return None
        return Commit.from_string(raw) if kind == _COMMIT else None

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
        parents = self.load(commit).parents
        while parents:
            yield parents[0].decode()
            parents = self.load(parents[0].decode()).parents


def _attempt_ref(attempt: int) -> Ref:
    return Ref(ATTEMPTS + b"/%d" % attempt)


def recounted(message: bytes, count: int) -> bytes:
    """A commit's message with another number of documents."""
    return _TRAILER.sub(b"%s: %d\n" % (_COUNT.encode(), count), message)


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
