"""Documents, commits, branches and diffs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from ragstone.domain.commits import DocumentChange
from ragstone.domain.documents import DocumentInfo, ExtractedText, StoredDocument


class VersionStore(Protocol):
    """Contract (`repo` is a collection's uid; commit ids are the store's own hashes, as strings):

    - `create` makes an empty repository, whose `main` has no commit; done again it does nothing. `delete` removes it whole. `repositories`: those that there are, in order.
    - `stage` builds, on branch `attempt/<attempt>`, the commit base + puts - removes and returns its id, durable. `base` None is the empty state.
      `restore` does the same with the tree of commit `target`. Either returns None, and writes no commit, when the tree equals base's.
      Done again for the same attempt it replaces the branch. Staged commits are readable by id at once; `main` is untouched.
    - `advance(repo, commit)` moves `main` forward to `commit` (fast-forward only; already there or ahead: nothing) and drops `attempt/<a>` if given.
    - `drop_attempts` deletes branches of attempts; absent ones are fine. `attempts` lists those that exist.
    - Reads (`infos`, `read`, `documents`, `diff`, `count`) take a commit id, raise `NotFound` for an unknown commit or path. `infos` leaves out absent paths.
      `documents` is in order of path, strictly after `after`, at most `limit`. `diff` is in order of path; cost follows the change, not the corpus.
    - Any path that `check_document_path` accepts can be stored, `a` beside `a/b` too.
    - `forget(path, commits)` takes a document out of commits whose ids stay: afterwards every read is as if they had never held it, everything else
      of them as before. A commit staged on such a base has the base's id as its parent, and does not bring the document back; nor does
      `restore`. All of `commits` at once or none. Returns how many of them held it. Unknown and collected commits are left out.
    - `collect(kept)` drops the documents of all commits but `kept`, `main`, the attempts' branches, and branches and tags that people made in the store
      itself: reads of the others raise `NotFound` (unless a kept commit has the very same documents). A document's bytes go with the last of the
      commits that hold it. `advance` still knows the order of all commits. Returns the bytes freed; `collectable` how many `collect` would free.
      Readers and writers go on meanwhile: commits of `main` and of the branches that descend from `since` stay too, for they may have been published
      after `kept` was asked for. One of `forget` and `collect` at a time a repository; others wait.
    - `verify`: those of `commits` that can't be read whole; every byte of every object that they need was read and has its hash.
    - Raises `StorageFull` when there is no space.
    """

    async def create(self, repo: str) -> None: ...

    async def delete(self, repo: str) -> None: ...

    async def repositories(self) -> list[str]: ...

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
    ) -> str | None: ...

    async def restore(
        self, repo: str, attempt: int, base: str | None, target: str, *, author: str, message: str, metadata: Mapping[str, str]
    ) -> str | None: ...

    async def advance(self, repo: str, commit: str, attempt: int | None = None) -> None: ...

    async def main(self, repo: str) -> str | None: ...

    async def attempts(self, repo: str) -> list[int]: ...

    async def drop_attempts(self, repo: str, attempts: Iterable[int]) -> None: ...

    async def infos(self, repo: str, commit: str, paths: Iterable[str]) -> dict[str, DocumentInfo]: ...

    async def read(self, repo: str, commit: str, path: str) -> StoredDocument: ...

    async def extracted(self, repo: str, commit: str, path: str) -> ExtractedText: ...

    async def documents(self, repo: str, commit: str, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[DocumentInfo]: ...

    async def count(self, repo: str, commit: str) -> int: ...

    async def diff(self, repo: str, before: str | None, after: str) -> list[DocumentChange]: ...

    async def forget(self, repo: str, path: str, commits: Collection[str]) -> int: ...

    async def collect(self, repo: str, kept: Collection[str], *, since: str | None = None) -> int: ...

    async def collectable(self, repo: str, kept: Collection[str]) -> int: ...

    async def verify(self, repo: str, commits: Collection[str]) -> list[str]: ...

    async def close(self) -> None: ...
