"""Version store: one bare Git repository per collection, through dulwich (ADR 0004)."""

from __future__ import annotations

import asyncio
import bisect
import errno
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dulwich.errors import FileFormatException, NotGitRepository

from ragstone.adapters import git_copying, git_tree
from ragstone.adapters.document_codec import decode_text
from ragstone.adapters.durable_files import sync_directory
from ragstone.adapters.git_collecting import collect, collectable
from ragstone.adapters.git_forgetting import forget
from ragstone.adapters.git_repository import About, GitRepository
from ragstone.adapters.git_verification import unreadable
from ragstone.domain.commits import DocumentChange
from ragstone.domain.documents import DocumentInfo, ExtractedText, StoredDocument
from ragstone.domain.errors import DataDirectoryError, NotFound, StorageFull, Unavailable

T = TypeVar("T")
Listing = list[tuple[str, bytes]]
_THREADS = 4
_LISTINGS = 4  # listings kept for paging through them
_LISTED_DOCUMENTS = 300_000  # in all of them together, about 100 MB


class GitVersionStore:
    """Implements `VersionStore` in `<directory>/<repo>.git`. The process must be the directory's only writer."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="git")
        self._lock = threading.Lock()
        self._open: dict[str, GitRepository] = {}
        self._listings: OrderedDict[bytes, Listing] = OrderedDict()

    async def create(self, repo: str) -> None:
        def work() -> None:
            with self._lock:
                path = self._path(repo)
                if not path.exists():
                    shutil.rmtree(path.with_name(f".{path.name}.new"), ignore_errors=True)  # of a run that was killed
                    GitRepository.create(path)

        await self._run(work)

    async def delete(self, repo: str) -> None:
        def work() -> None:
            with self._lock:
                path = self._path(repo)
                doomed = path.with_name(f".{path.name}.deleted")
                if (opened := self._open.pop(repo, None)) is not None:
                    opened.close()
                shutil.rmtree(doomed, ignore_errors=True)
                if path.exists():
                    path.rename(doomed)  # gone at once, even if the process is killed now
                    sync_directory(self._directory)
                    shutil.rmtree(doomed)

        await self._run(work)

    async def repositories(self) -> list[str]:
        return await self._run(lambda: sorted(path.stem for path in self._directory.glob("*.git") if not path.name.startswith(".")))

    async def stage(
        self,
        repo: str,
        attempt: int,
        base: str | None,
        puts: Sequence[StoredDocument],
        removes: Iterable[str],
        *,
        author: str,
        message: str,
        metadata: Mapping[str, str],
    ) -> str | None:
        about = About(author, message, dict(metadata))
        removed = list(removes)
        commit = await self._run(lambda: self._repository(repo).stage(attempt, base, puts, removed, about))
        self._executor.submit(self._tidy, repo)
        return commit

    async def restore(
        self, repo: str, attempt: int, base: str | None, target: str, *, author: str, message: str, metadata: Mapping[str, str]
    ) -> str | None:
        about = About(author, message, dict(metadata))
        return await self._run(lambda: self._repository(repo).restore(attempt, base, target, about))

    async def advance(self, repo: str, commit: str, attempt: int | None = None) -> None:
        await self._run(lambda: self._repository(repo).advance(commit, attempt))

    async def main(self, repo: str) -> str | None:
        return await self._run(lambda: self._repository(repo).main())

    async def attempts(self, repo: str) -> list[int]:
        return await self._run(lambda: self._repository(repo).attempts())

    async def drop_attempts(self, repo: str, attempts: Iterable[int]) -> None:
        dropped = list(attempts)
        await self._run(lambda: self._repository(repo).drop_attempts(dropped))

    async def infos(self, repo: str, commit: str, paths: Iterable[str]) -> dict[str, DocumentInfo]:
        wanted = list(paths)

        def work() -> dict[str, DocumentInfo]:
            repository = self._repository(repo)
            with repository.reading(commit):
                found = git_tree.find(repository.blob, repository.root(commit), wanted)
            return {path: git_tree.info(line) for path, line in found.items()}

        return await self._run(work)

    async def read(self, repo: str, commit: str, path: str) -> StoredDocument:
        def work() -> StoredDocument:
            repository = self._repository(repo)
            with repository.reading(commit):
                line = _line(repository, commit, path)
                content, text = git_tree.content_and_text(line)
                return StoredDocument(git_tree.info(line), repository.blob(content), decode_text(repository.blob(text)))

        return await self._run(work)

    async def extracted(self, repo: str, commit: str, path: str) -> ExtractedText:
        def work() -> ExtractedText:
            repository = self._repository(repo)
            with repository.reading(commit):
                text = git_tree.content_and_text(_line(repository, commit, path))[1]
                return decode_text(repository.blob(text))

        return await self._run(work)

    async def documents(self, repo: str, commit: str, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[DocumentInfo]:
        def work() -> list[DocumentInfo]:
            listing = self._listing(repo, commit)
            first = max(bisect.bisect_left(listing, (prefix, b"")), bisect.bisect_right(listing, (after, b"\xff")))
            page = listing[first : first + limit]
            return [git_tree.info(line) for path, line in page if path.startswith(prefix)]

        return await self._run(work)

    async def count(self, repo: str, commit: str) -> int:
        return await self._run(lambda: self._repository(repo).count(commit))

    async def diff(self, repo: str, before: str | None, after: str) -> list[DocumentChange]:
        return await self._run(lambda: self._repository(repo).diff(before, after))

    async def forget(self, repo: str, path: str, commits: Collection[str]) -> int:
        wanted = list(commits)
        return await self._run(lambda: forget(self._repository(repo), path, wanted))

    async def collect(self, repo: str, kept: Collection[str], *, since: str | None = None) -> int:
        wanted = list(kept)
        return await self._run(lambda: collect(self._repository(repo), wanted, since))

    async def collectable(self, repo: str, kept: Collection[str]) -> int:
        wanted = list(kept)
        return await self._run(lambda: collectable(self._repository(repo), wanted))

    async def verify(self, repo: str, commits: Collection[str]) -> list[str]:
        wanted = list(commits)
        return await self._run(lambda: unreadable(self._repository(repo), wanted))

    async def copy(self, repo: str, target: Path, head: str | None) -> None:
        """A copy of the repository in the new folder `target`, with `main` at `head`; writers go on. For backups."""
        await self._run(lambda: git_copying.copy(self._repository(repo), target, head))

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)
        for repository in self._open.values():
            repository.close()
        self._open.clear()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, _translated, work)

    def _path(self, repo: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", repo):
            raise NotFound(f"there is no repository {repo[:80]!r}.")
        return self._directory / f"{repo}.git"

    def _repository(self, repo: str) -> GitRepository:
        with self._lock:
            if repo not in self._open:
                path = self._path(repo)
                if not path.exists():
                    raise NotFound(f"there is no repository {repo!r}.")
                self._open[repo] = GitRepository(path)
            return self._open[repo]

    def _listing(self, repo: str, commit: str) -> Listing:
        """The commit's documents in order; kept a while, because pages are asked for one after another."""
        repository = self._repository(repo)
        root = repository.root(commit)
        with self._lock:
            if root in self._listings:
                self._listings.move_to_end(root)
                return self._listings[root]
        with repository.reading(commit):
            listing = git_tree.lines(repository.blob, root)
        with self._lock:
            self._listings[root] = listing
            while len(self._listings) > _LISTINGS or sum(map(len, self._listings.values())) > _LISTED_DOCUMENTS:
                self._listings.popitem(last=False)
        return listing

    def _tidy(self, repo: str) -> None:
        """Merges packs when there are many. Only speed depends on it: what it cannot do now, it does after the next commit."""
        try:
            objects = self._repository(repo).objects
            if objects.crowded:
                objects.merge_packs()
        except (NotFound, OSError, DataDirectoryError):
            return


def _line(repository: GitRepository, commit: str, path: str) -> bytes:
    found = git_tree.find(repository.blob, repository.root(commit), [path])
    if path not in found:
        raise NotFound(f"there is no document {path[:200]!r} in this commit.", field="path")
    return found[path]


def _translated(work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("no space is left for the version store; free some and try again.") from error
        raise Unavailable(f"the version store cannot be read or written ({error.strerror or 'input/output error'}).") from error
    except (KeyError, FileFormatException, NotGitRepository) as error:
        raise DataDirectoryError("the version store is damaged: an object is missing; restore it from a backup.") from error
