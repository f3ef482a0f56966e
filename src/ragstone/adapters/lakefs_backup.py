"""Backups of lakeFS repositories: their refs as lakeFS dumps them, and the objects that these name, copied from one object store to another.

lakeFS writes branches, tags and commits into a repository's own namespace when it is told to dump them; with the objects of that namespace, which never
change, they make the repository anew on another server, under the same commit ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from lakefs_sdk.api.repositories_api import RepositoriesApi
from lakefs_sdk.api_client import ApiClient
from lakefs_sdk.configuration import Configuration
from lakefs_sdk.exceptions import ApiException, NotFoundException

from ragstone.adapters.lakefs_layout import MAIN
from ragstone.domain.errors import Conflict, InternalError, Unavailable

T = TypeVar("T")
_PAUSE = 0.2  # seconds between looks at a task
_WITHIN = 3600.0  # seconds for one dump or restore
_REQUEST = 60.0
MARK = "dummy"  # the object by which lakeFS knows a namespace as taken


@dataclass(frozen=True, slots=True)
class Refs:
    """Where a dump has its commits, tags and branches, in the repository's namespace."""

    commits_meta_range_id: str
    tags_meta_range_id: str
    branches_meta_range_id: str


class LakeFsDump:
    """Dumps and restores of repositories whose names begin with `prefix`. Raises `Unavailable` when the server does not answer."""

    def __init__(self, endpoint: str, access_key_id: str, secret: Callable[[], str], prefix: str) -> None:
        base = endpoint.rstrip("/").removesuffix("/api/v1") + "/api/v1"
        self._configuration = Configuration(host=base, username=access_key_id, password="")
        self._secret = secret
        self._api = RepositoriesApi(ApiClient(self._configuration))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lakefs-backup")
        self._prefix = prefix

    async def namespace(self, repo: str) -> str | None:
        """Where the repository of a collection keeps its objects; None when there is none."""
        try:
            found = await self._call(self._api.get_repository, self._prefix + repo)
        except NotFoundException:
            return None
        return str(found.storage_namespace)

    async def dump(self, repo: str) -> Refs:
        """Writes the refs of now into the repository's namespace."""
        name = self._prefix + repo
        task = await self._call(self._api.dump_submit, name)
        status = await self._done(lambda: self._call(self._api.dump_status, name, task.id))
        refs = status.refs
        return Refs(refs.commits_meta_range_id, refs.tags_meta_range_id, refs.branches_meta_range_id)

    async def restore(self, repo: str, namespace: str, refs: Refs) -> None:
        """Makes the repository over the objects that are in `namespace` already. Raises `Conflict` when there is one of that name."""
        name = self._prefix + repo
        if await self.namespace(repo) is not None:
            raise Conflict(f"versions: lakeFS has a repository {name!r} already; restore into an empty one.", field="versions")
        creation = {"name": name, "storage_namespace": namespace, "default_branch": MAIN}
        await self._call(self._api.create_repository, creation, bare=True)
        given = {
            "commits_meta_range_id": refs.commits_meta_range_id,
            "tags_meta_range_id": refs.tags_meta_range_id,
            "branches_meta_range_id": refs.branches_meta_range_id,
        }
        task = await self._call(self._api.restore_submit, name, given)
        await self._done(lambda: self._call(self._api.restore_status, name, task.id))
        await self._call(self._api.set_branch_protection_rules, name, [{"pattern": MAIN}])

    async def close(self) -> None:
        """Waits for what runs."""
        await asyncio.to_thread(self._thread.shutdown)

    async def _done(self, look: Callable[[], Any]) -> Any:
        async with asyncio.timeout(_WITHIN):
            while True:
                status = await look()
                if status.error:
                    raise InternalError(f"lakeFS could not dump or restore a repository ({str(status.error)[:200]}).")
                if status.done:
                    return status
                await asyncio.sleep(_PAUSE)

    async def _call(self, method: Callable[..., T], *arguments: Any, **options: Any) -> T:
        def work() -> T:
            self._configuration.password = self._secret()
            return method(*arguments, **options, _request_timeout=_REQUEST)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except NotFoundException:
            raise
        except ApiException as error:
            raise Unavailable(f"versions: lakeFS refuses it ({error.status} {str(error.reason)[:100]}).", field="versions") from error
        except OSError as error:
            raise Unavailable("versions: lakeFS can't be reached; check versions.endpoint and that it runs.", field="versions") from error
