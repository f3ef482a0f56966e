"""Version store: one lakeFS repository per collection (ADR 0025)."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from ragstone.adapters import lakefs_layout as layout
from ragstone.adapters.lakefs_client import MINIMUM, LakeFsClient
from ragstone.adapters.lakefs_collecting import collect, forget, plan_collection
from ragstone.adapters.lakefs_inbox import LakeFsInbox
from ragstone.adapters.lakefs_main import advance, main
from ragstone.adapters.lakefs_reading import Reader
from ragstone.adapters.lakefs_staging import About, Stager
from ragstone.adapters.lakefs_state import StateLog
from ragstone.adapters.lakefs_verification import unreadable
from ragstone.adapters.object_store import ObjectStore
from ragstone.domain.commits import DocumentChange
from ragstone.domain.documents import DocumentInfo, ExtractedText, StoredDocument
from ragstone.domain.errors import Conflict, DataDirectoryError, NotFound, Unavailable

_AGAIN = (*[1.0] * 10, 0.0)  # seconds between tries
_REPOSITORY = re.compile(r"[a-z0-9-]{1,40}")


class LakeFsVersionStore:
    """Implements `VersionStore`. Any number of processes may use the same server.

    `namespace`: where lakeFS keeps the objects of all repositories (s3://bucket/prefix, local://directory). `prefix`: what the names of
    ragstone's repositories begin with. `objects`: the store under lakeFS, to delete bytes in; None: lakeFS' garbage collection has to.
    """

    def __init__(self, client: LakeFsClient, *, namespace: str, prefix: str = "ragstone-", objects: ObjectStore | None = None) -> None:
        self._client = client
        self._namespace = namespace.rstrip("/")
        self._prefix = prefix
        self._objects = objects
        self._states = StateLog(client)
        self._readers: dict[str, Reader] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._checked = False

    async def create(self, repo: str) -> None:
        name = self._name(repo)
        await self._check_version()
        existing = await self._client.namespace(name) or await self._create(name)
        if not existing.startswith(f"{self._namespace}/{name}-"):
            raise Conflict(f"versions: lakeFS has a repository {name!r} that is not ragstone's; choose another versions.repository_prefix.")
        await self._begin(repo, name)

    async def delete(self, repo: str) -> None:
        name = self._name(repo)
        namespace = await self._client.namespace(name)
        self._readers.pop(name, None)
        self._states.forget(name)
        if namespace is None:
            return
        if not namespace.startswith(f"{self._namespace}/{name}-"):
            raise Conflict(f"versions: lakeFS' repository {name!r} is not ragstone's; it is left alone.")
        if self._objects is not None:  # first: a repository that is still listed is deleted again
            await self._objects.delete_all(namespace)
        await self._client.delete_repository(name)

    async def repositories(self) -> list[str]:
        found = await self._client.repositories(self._prefix)
        ours = [name for name, namespace in found.items() if namespace.startswith(f"{self._namespace}/{name}-")]
        return sorted(name.removeprefix(self._prefix) for name in ours)

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
        return await self._stager(repo).stage(attempt, base, puts, set(removes), About(author, message, metadata))

    async def restore(
        self, repo: str, attempt: int, base: str | None, target: str, *, author: str, message: str, metadata: Mapping[str, str]
    ) -> str | None:
        return await self._stager(repo).restore(attempt, base, target, About(author, message, metadata))

    async def advance(self, repo: str, commit: str, attempt: int | None = None) -> None:
        await advance(self._reader(repo), commit)
        if attempt is not None:
            await self._stager(repo).drop([attempt], besides=commit)

    async def main(self, repo: str) -> str | None:
        return await main(self._reader(repo))

    async def attempts(self, repo: str) -> list[int]:
        reader = self._reader(repo)
        await reader.state()
        found = [layout.attempt_of(name) for name in await self._client.branches(reader.name, layout.ATTEMPTS)]
        return sorted(attempt for attempt in found if attempt is not None)

    async def drop_attempts(self, repo: str, attempts: Iterable[int]) -> None:
        await self._stager(repo).drop(set(attempts))

    async def infos(self, repo: str, commit: str, paths: Iterable[str]) -> dict[str, DocumentInfo]:
        return await self._reader(repo).infos(commit, paths)

    async def read(self, repo: str, commit: str, path: str) -> StoredDocument:
        return await self._reader(repo).read(commit, path)

    async def extracted(self, repo: str, commit: str, path: str) -> ExtractedText:
        return await self._reader(repo).extracted(commit, path)

    async def documents(self, repo: str, commit: str, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[DocumentInfo]:
        return await self._reader(repo).documents(commit, prefix=prefix, after=after, limit=limit)

    async def count(self, repo: str, commit: str) -> int:
        return await self._reader(repo).count(commit)

    async def diff(self, repo: str, before: str | None, after: str) -> list[DocumentChange]:
        return await self._reader(repo).diff(before, after)

    async def forget(self, repo: str, path: str, commits: Collection[str]) -> int:
        async with self._turns[repo]:
            return await forget(self._reader(repo), self._states, path, commits)

    async def collect(self, repo: str, kept: Collection[str], *, since: str | None = None) -> int:
        async with self._turns[repo]:
            return await collect(self._reader(repo), self._states, self._objects, kept, since)

    async def collectable(self, repo: str, kept: Collection[str]) -> int:
        async with self._turns[repo]:
            plan = await plan_collection(self._reader(repo), kept, None, sweeping=self._objects is not None)
            return sum(plan.doomed.values())

    async def verify(self, repo: str, commits: Collection[str]) -> list[str]:
        return await unreadable(self._reader(repo), commits)

    async def close(self) -> None:
        await self._client.close()

    @property
    def inbox(self) -> LakeFsInbox:
        """Of the same repositories."""
        return LakeFsInbox(self._reader, self._states, self._prefix)

    async def _create(self, name: str) -> str:
        """Makes the repository and returns where its objects lie; also when another process was faster, or the reply was lost."""
        for pause in _AGAIN:
            namespace = f"{self._namespace}/{name}-{secrets.token_hex(4)}"  # lakeFS takes none twice, and a collection may be made again
            try:
                await self._client.create_repository(name, namespace)
            except (Conflict, Unavailable) as error:
                if (existing := await self._client.namespace(name)) is not None:
                    return existing
                if isinstance(error, Unavailable) or not pause:
                    raise
                await asyncio.sleep(pause)  # lakeFS goes on knowing a deleted repository for some seconds
            else:
                return namespace
        raise AssertionError("the last try returns or raises")

    async def _begin(self, repo: str, name: str) -> None:
        """Marks the repository as ours, unless it is; also one whose maker was killed at it."""
        try:
            await self._states.read(name, repo)
        except DataDirectoryError:
            tip = await self._client.tip(name, layout.MAIN)
            if tip is None or (await self._client.record(name, tip)).parents or await self._client.tip(name, layout.STATE):
                raise
            await self._client.protect(name, layout.MAIN)
            await self._states.begin(name, repo, tip)

    async def _check_version(self) -> None:
        if not self._checked:
            version = await self._client.version()
            parts = [int(part) for part in re.findall(r"\d+", version)[:2]]
            if len(parts) == 2 and tuple(parts) < MINIMUM:
                needed = ".".join(map(str, MINIMUM))
                raise DataDirectoryError(f"versions: lakeFS {version[:20]} is too old; ragstone needs {needed} or newer.")
            self._checked = True

    def _name(self, repo: str) -> str:
        if not _REPOSITORY.fullmatch(repo):
            raise NotFound(f"there is no repository {repo[:80]!r}.")
        return f"{self._prefix}{repo}"

    def _reader(self, repo: str) -> Reader:
        name = self._name(repo)
        if name not in self._readers:
            self._readers[name] = Reader(self._client, self._states, name, repo)
        return self._readers[name]

    def _stager(self, repo: str) -> Stager:
        return Stager(self._reader(repo), self._states)
