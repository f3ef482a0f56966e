"""The calls to a lakeFS server: `lakefs-sdk` for repositories, branches, commits and listings, httpx for the bytes of objects.

The SDK is synchronous and takes a file's path for an upload: its calls run in threads, each with a time-out of its own, and what carries bytes goes
through httpx, where it can be cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from lakefs_sdk.api.branches_api import BranchesApi
from lakefs_sdk.api.commits_api import CommitsApi
from lakefs_sdk.api.config_api import ConfigApi
from lakefs_sdk.api.objects_api import ObjectsApi
from lakefs_sdk.api.refs_api import RefsApi
from lakefs_sdk.api.repositories_api import RepositoriesApi
from lakefs_sdk.api.tags_api import TagsApi
from lakefs_sdk.api_client import ApiClient
from lakefs_sdk.configuration import Configuration

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.lakefs_errors import Answer, Garbled
from ragstone.adapters.lakefs_layout import MAIN
from ragstone.domain.errors import Conflict, NotFound, Unavailable

T = TypeVar("T")
_log = logging.getLogger(__name__)
PAGE = 1_000  # the most that lakeFS gives at once
MINIMUM = (1, 80)


@dataclass(frozen=True, slots=True)
class Record:
    """A commit as lakeFS keeps it. `tree`: equal ids, equal trees; empty for the empty tree of a new repository."""

    id: str
    parents: tuple[str, ...]
    tree: str
    generation: int
    metadata: Mapping[str, str]
    committer: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object. `address`: where its bytes lie in the object store. `size` in bytes."""

    key: str
    address: str
    size: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of a diff; `metadata` and `size` (bytes) of the object on the right, empty for one that was removed."""

    key: str
    kind: str  # added, changed, removed
    metadata: Mapping[str, str]
    size: int = 0


class LakeFsClient:
    """One server. Every call goes through `dependency`. `secret` is asked for at each call, so that it may change."""

    def __init__(self, endpoint: str, access_key_id: str, secret: Callable[[], str], dependency: Dependency, *, concurrency: int) -> None:
        self._dependency = dependency
        self._secret = secret
        self._key = access_key_id
        self.concurrency = concurrency
        base = endpoint.rstrip("/").removesuffix("/api/v1") + "/api/v1"
        self._configuration = Configuration(host=base, username=access_key_id, password="")
        self._configuration.retries = False  # type: ignore[assignment]  # retrying is the dependency's part
        self._configuration.connection_pool_maxsize = concurrency
        api = ApiClient(self._configuration)
        self._repositories, self._branches = RepositoriesApi(api), BranchesApi(api)
        self._commits, self._refs, self._objects = CommitsApi(api), RefsApi(api), ObjectsApi(api)
        self._tags, self._config = TagsApi(api), ConfigApi(api)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="lakefs")
        self._http = httpx.AsyncClient(
            base_url=base,
            verify=ssl.create_default_context() if base.startswith("https") else False,
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    async def version(self) -> str:
        return str((await self._call(self._config.get_config)).version_config.version or "")

    # Repositories

    async def create_repository(self, name: str, namespace: str) -> None:
        await self._call(
            self._repositories.create_repository,
            {"name": name, "storage_namespace": namespace, "default_branch": MAIN},
            retry=False,
        )

    async def namespace(self, name: str) -> str | None:
        """Where the repository's objects lie; None when there is no such repository. From the listing: lakeFS goes on giving a deleted one for a while."""
        return (await self.repositories(name)).get(name)

    async def repositories(self, prefix: str) -> dict[str, str]:
        """Names and namespaces."""
        found = self._pages(lambda after: partial(self._repositories.list_repositories, prefix=prefix, after=after, amount=PAGE))
        return {str(one.id): str(one.storage_namespace) async for one in found}

    async def delete_repository(self, name: str) -> None:
        try:
            await self._call(self._repositories.delete_repository, name, force=True)
        except NotFound:
            return

    async def protect(self, name: str, branch: str) -> None:
        """Nobody writes or commits on the branch any more; merging stays."""
        await self._call(self._repositories.set_branch_protection_rules, name, [{"pattern": branch}])

    # Branches, tags and commits

    async def tip(self, repo: str, branch: str) -> str | None:
        try:
            return str((await self._call(self._branches.get_branch, repo, branch)).commit_id)
        except NotFound:
            return None

    async def branches(self, repo: str, prefix: str = "") -> dict[str, str]:
        """Names and commits."""
        found = self._pages(lambda after: partial(self._branches.list_branches, repo, prefix=prefix, after=after, amount=PAGE))
        return {str(one.id): str(one.commit_id) async for one in found}

    async def tags(self, repo: str) -> dict[str, str]:
        found = self._pages(lambda after: partial(self._tags.list_tags, repo, after=after, amount=PAGE))
        return {str(one.id): str(one.commit_id) async for one in found}

    async def create_branch(self, repo: str, branch: str, commit: str) -> None:
        """Done again it does nothing. Raises `Conflict` when the branch is elsewhere."""
        try:
            await self._call(self._branches.create_branch, repo, {"name": branch, "source": commit})
        except Conflict:
            if await self.tip(repo, branch) != commit:
                raise

    async def delete_branch(self, repo: str, branch: str) -> None:
        try:
            await self._call(self._branches.delete_branch, repo, branch, force=True)
        except NotFound:
            return

    async def record(self, repo: str, commit: str) -> Record:
        return _record(await self._call(self._commits.get_commit, repo, commit))

    async def log(self, repo: str, ref: str) -> list[Record]:
        """The commit and its first parents, newest first."""
        found = self._pages(lambda after: partial(self._refs.log_commits, repo, ref, first_parent=True, after=after, amount=PAGE))
        return [_record(one) async for one in found]

    async def commit(self, repo: str, branch: str, message: str, metadata: Mapping[str, str], tree: str | None = None) -> Record:
        """Commits what was uploaded, or `tree` where nothing was. Not done again by itself: `Unavailable` leaves open whether it was done."""
        creation = {"message": message, "metadata": dict(metadata)}
        return _record(await self._call(self._commits.commit, repo, branch, creation, source_metarange=tree, retry=False))

    async def merge(self, repo: str, source: str, branch: str, message: str, metadata: Mapping[str, str], **options: Any) -> None:
        """As `commit`. Raises `Conflict` for changes on both sides, `Refused` when there is nothing to merge."""
        merge = {"message": message, "metadata": dict(metadata), **options}
        await self._call(self._refs.merge_into_branch, repo, source, branch, merge, retry=False)

    async def merge_base(self, repo: str, one: str, other: str) -> str:
        return str((await self._call(self._refs.find_merge_base, repo, one, other)).base_commit_id)

    # Objects

    async def listing(self, repo: str, ref: str, prefix: str, *, after: str = "", amount: int = PAGE) -> list[Entry]:
        """At most `amount`, in order of key."""
        listed = partial(self._objects.list_objects, repo, ref, prefix=prefix, after=after, amount=min(amount, PAGE), user_metadata=True)
        return [_entry(one) for one in (await self._call(listed)).results]

    async def entries(self, repo: str, ref: str, prefix: str = "") -> AsyncIterator[Entry]:
        """All of them, in order of key."""
        listed = partial(self._objects.list_objects, repo, ref, prefix=prefix, amount=PAGE, user_metadata=True)
        async for one in self._pages(lambda after: partial(listed, after=after)):
            yield _entry(one)

    async def entry(self, repo: str, ref: str, key: str) -> Entry | None:
        try:
            return _entry(await self._call(self._objects.stat_object, repo, ref, key, user_metadata=True))
        except NotFound:
            return None

    async def diff(self, repo: str, before: str, after: str, prefix: str) -> list[Difference]:
        """Lines in order of key; cost follows the change."""
        compared = partial(self._refs.diff_refs, repo, before, after, type="two_dot", prefix=prefix, amount=PAGE, include_right_stats=True)
        found = self._pages(lambda after: partial(compared, after=after))
        return [_difference(one) async for one in found]

    async def delete(self, repo: str, branch: str, keys: Sequence[str]) -> None:
        """Absent ones are fine."""
        for first in range(0, len(keys), PAGE):
            answer = await self._call(self._objects.delete_objects, repo, branch, {"paths": list(keys[first : first + PAGE])})
            if answer.errors:
                raise Unavailable("The version store (lakeFS) could not delete everything; try again.", field="versions")

    async def upload(
        self, repo: str, branch: str, key: str, content: bytes, media_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        headers = {f"x-lakefs-meta-{name}": value for name, value in (metadata or {}).items()}
        url = f"/repositories/{quote(repo, safe='')}/branches/{quote(branch, safe='')}/objects"

        async def work(seconds: float) -> None:
            request = self._http.build_request(
                "POST", url, params={"path": key}, content=content, headers={**headers, "content-type": media_type}, timeout=seconds
            )
            await self._send(request)

        await self._dependency.call(work, retry=True)

    async def content(self, repo: str, ref: str, key: str, *, first: int | None = None) -> bytes:
        """The bytes of an object, or the `first` of them. Raises `NotFound`."""
        url = f"/repositories/{quote(repo, safe='')}/refs/{quote(ref, safe='')}/objects"
        headers = {"range": f"bytes=0-{first - 1}"} if first else {}

        async def work(seconds: float) -> bytes:
            return await self._send(self._http.build_request("GET", url, params={"path": key}, headers=headers, timeout=seconds))

        return await self._dependency.call(work, retry=True)

    async def _send(self, request: httpx.Request) -> bytes:
        response = await self._http.send(request, auth=httpx.BasicAuth(self._key, self._secret()))
        if response.status_code >= 400:
            raise Answer(response.status_code, response.content)
        return response.content

    async def _call(self, method: Callable[..., Any], *arguments: Any, retry: bool = True, **options: Any) -> Any:
        given = {name: value for name, value in options.items() if value is not None}

        async def work(seconds: float) -> Any:
            self._configuration.password = self._secret()
            called = partial(method, *arguments, **given, _request_timeout=seconds)
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, called)
            except ValueError as error:  # an answer that was cut off, or another server's
                _log.warning("lakeFS answered %s with what is none of its answers", getattr(method, "__name__", method), exc_info=error)
                raise Garbled from error

        return await self._dependency.call(work, retry=retry)

    async def _pages(self, page: Callable[[str], Callable[..., Any]]) -> AsyncIterator[Any]:
        after, more = "", True
        while more:
            answer = await self._call(page(after))
            for one in answer.results:
                yield one
            after, more = answer.pagination.next_offset, answer.pagination.has_more


def _record(commit: Any) -> Record:
    return Record(
        commit.id,
        tuple(commit.parents),
        commit.meta_range_id,
        commit.generation or 0,
        commit.metadata or {},
        commit.committer,
        commit.message,
    )


def _difference(line: Any) -> Difference:
    if line.type == "removed":
        return Difference(line.path, line.type, {})
    return Difference(line.path, line.type, _metadata(line.right), line.size_bytes or 0)


def _entry(stats: Any) -> Entry:
    return Entry(stats.path, stats.physical_address, stats.size_bytes or 0, _metadata(stats))


def _metadata(stats: Any) -> Mapping[str, str]:
    return getattr(stats, "metadata", None) or {}
