"""A version store in plain dicts."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ragstone.domain.commits import DocumentChange
from ragstone.domain.documents import DocumentInfo, ExtractedText, StoredDocument
from ragstone.domain.errors import Conflict, NotFound

Tree = dict[str, StoredDocument]


@dataclass
class _Repository:
    trees: dict[str, Tree] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    branches: dict[int, str] = field(default_factory=dict)
    main: str | None = None


class InMemoryVersionStore:
    """Implements `VersionStore`."""

    def __init__(self) -> None:
        self._repositories: dict[str, _Repository] = {}

    def held(self) -> dict[str, _Repository]:
        """Everything, by repository; for backups."""
        return self._repositories

    async def create(self, repo: str) -> None:
        self._repositories.setdefault(repo, _Repository())

    async def delete(self, repo: str) -> None:
        self._repositories.pop(repo, None)

    async def repositories(self) -> list[str]:
        return sorted(self._repositories)

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
        tree = dict(self._tree(repo, base))
        tree.update({document.info.path: document for document in puts})
        for path in removes:
            tree.pop(path, None)
        return self._commit(repo, attempt, base, tree, (author, message, sorted(metadata.items())))

    async def restore(
        self, repo: str, attempt: int, base: str | None, target: str, *, author: str, message: str, metadata: Mapping[str, str]
    ) -> str | None:
        tree = dict(self._tree(repo, target))
        return self._commit(repo, attempt, base, tree, (author, message, sorted(metadata.items())))

    async def advance(self, repo: str, commit: str, attempt: int | None = None) -> None:
        repository = self._repository(repo)
        if commit not in repository.parents:
            raise _unknown(commit)
        if repository.main is None or repository.main in self._line(repository, commit):
            repository.main = commit
        elif commit not in self._line(repository, repository.main):
            raise Conflict("main has commits that are not ragstone's; move it back to the head by hand.")
        if attempt is not None:
            repository.branches.pop(attempt, None)

    async def main(self, repo: str) -> str | None:
        return self._repository(repo).main

    async def attempts(self, repo: str) -> list[int]:
        return sorted(self._repository(repo).branches)

    async def drop_attempts(self, repo: str, attempts: Iterable[int]) -> None:
        for attempt in attempts:
            self._repository(repo).branches.pop(attempt, None)

    async def infos(self, repo: str, commit: str, paths: Iterable[str]) -> dict[str, DocumentInfo]:
        tree = self._tree(repo, commit)
        return {path: tree[path].info for path in paths if path in tree}

    async def read(self, repo: str, commit: str, path: str) -> StoredDocument:
        tree = self._tree(repo, commit)
        if path not in tree:
            raise NotFound(f"there is no document {path!r} in this commit.", field="path")
        return tree[path]

    async def extracted(self, repo: str, commit: str, path: str) -> ExtractedText:
        return (await self.read(repo, commit, path)).extracted

    async def documents(self, repo: str, commit: str, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[DocumentInfo]:
        tree = self._tree(repo, commit)
        return [tree[path].info for path in sorted(tree) if path.startswith(prefix) and path > after][:limit]

    async def count(self, repo: str, commit: str) -> int:
        return len(self._tree(repo, commit))

    async def diff(self, repo: str, before: str | None, after: str) -> list[DocumentChange]:
        old, new = self._tree(repo, before), self._tree(repo, after)
        changes = [DocumentChange(path, "added") for path in new.keys() - old.keys()]
        changes += [DocumentChange(path, "removed") for path in old.keys() - new.keys()]
        changes += [DocumentChange(path, "changed") for path in old.keys() & new.keys() if old[path] != new[path]]
        return sorted(changes, key=lambda change: change.path)

    async def forget(self, repo: str, path: str, commits: Collection[str]) -> int:
        trees = self._repository(repo).trees
        holding = [commit for commit in set(commits) if path in trees.get(commit, {})]
        for commit in holding:
            trees[commit] = {other: document for other, document in trees[commit].items() if other != path}
        return len(holding)

    async def collect(self, repo: str, kept: Collection[str], *, since: str | None = None) -> int:
        kept = {*kept, *self._made_since(repo, since)}
        freed = await self.collectable(repo, kept)
        for commit in self._collectable(repo, kept):
            del self._repository(repo).trees[commit]
        return freed

    async def collectable(self, repo: str, kept: Collection[str]) -> int:
        trees, gone = self._repository(repo).trees, self._collectable(repo, kept)
        held = {document.content for commit in gone for document in trees[commit].values()}
        needed = {document.content for commit in trees.keys() - gone for document in trees[commit].values()}
        return sum(len(content) for content in held - needed)

    def _collectable(self, repo: str, kept: Collection[str]) -> set[str]:
        repository = self._repository(repo)
        return repository.trees.keys() - {*kept, repository.main, *repository.branches.values()}

    def _made_since(self, repo: str, since: str | None) -> set[str]:
        repository = self._repository(repo)
        found: set[str] = set()
        for tip in (repository.main, *repository.branches.values()):
            way: list[str] = []
            here = tip
            while here is not None and here != since:
                way.append(here)
                here = repository.parents.get(here)
            found.update(way if here is not None else ())
        return found

    async def verify(self, repo: str, commits: Collection[str]) -> list[str]:
        trees = self._repository(repo).trees
        return [commit for commit in commits if commit not in trees]

    async def close(self) -> None:
        """Nothing to close."""

    def _repository(self, repo: str) -> _Repository:
        if repo not in self._repositories:
            raise NotFound(f"there is no repository {repo!r}.")
        return self._repositories[repo]

    def _tree(self, repo: str, commit: str | None) -> Tree:
        trees = self._repository(repo).trees
        if commit is None:
            return {}
        if commit not in self._repository(repo).parents:
            raise _unknown(commit)
        if commit not in trees:
            raise NotFound("the documents of this commit were pruned; ask for another commit.", field="commit")
        return trees[commit]

    def _commit(self, repo: str, attempt: int, base: str | None, tree: Tree, about: object) -> str | None:
        if tree == self._tree(repo, base):
            return None
        repository = self._repository(repo)
        commit = hashlib.sha1(repr((base, attempt, about, sorted(tree.items()))).encode()).hexdigest()
        repository.trees[commit], repository.parents[commit] = tree, base
        repository.branches[attempt] = commit
        return commit

    @staticmethod
    def _line(repository: _Repository, commit: str) -> set[str]:
        line: set[str] = set()
        at: str | None = commit
        while at is not None:
            line.add(at)
            at = repository.parents[at]
        return line


def _unknown(commit: str) -> NotFound:
    return NotFound(f"there is no commit {commit[:64]!r}.", field="commit")
