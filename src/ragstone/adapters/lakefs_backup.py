"""Backups of lakeFS repositories: their refs as lakeFS dumps them, and the objects that these name, copied from one object store to another.

lakeFS writes branches, tags and commits into a repository's own namespace when it is told to dump them; with the objects of that namespace, which never
change, they make the repository anew on another server, under the same commit ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

from lakefs_sdk.api.branches_api import BranchesApi
from lakefs_sdk.api.experimental_api import ExperimentalApi
from lakefs_sdk.api.refs_api import RefsApi
from lakefs_sdk.api.repositories_api import RepositoriesApi
from lakefs_sdk.api_client import ApiClient
from lakefs_sdk.configuration import Configuration
from lakefs_sdk.exceptions import ApiException, NotFoundException

from ragstone.adapters.cluster_backup_manifest import BackedUp, Refs
from ragstone.adapters.lakefs_layout import ATTEMPTS, HEAD, MAIN, attempt_of
from ragstone.domain.errors import Conflict, InternalError, Unavailable

T = TypeVar("T")
_PAUSE = 0.2  # seconds between looks at a task
_WITHIN = 3600.0  # seconds for one dump or restore
_REQUEST = 60.0
_PAGE = 1000


class LakeFsDump:
    """Dumps and restores of repositories whose names begin with `prefix`. Raises `Unavailable` when the server does not answer."""

    def __init__(self, endpoint: str, access_key_id: str, secret: Callable[[], str], prefix: str) -> None:
        base = endpoint.rstrip("/").removesuffix("/api/v1") + "/api/v1"
        self._configuration = Configuration(host=base, username=access_key_id, password="")
        self._secret = secret
        client = ApiClient(self._configuration)
        self._repositories, self._branches = RepositoriesApi(client), BranchesApi(client)
        self._refs, self._experimental = RefsApi(client), ExperimentalApi(client)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lakefs-backup")
        self._prefix = prefix

    async def namespace(self, repo: str) -> str | None:
        """Where the repository of a collection keeps its objects; None when there is none."""
        try:
            found = await self._call(self._repositories.get_repository, self._prefix + repo)
        except NotFoundException:
            return None
        return str(found.storage_namespace)

    async def dump(self, repo: str) -> Refs:
        """Writes the refs of now into the repository's namespace."""
        name = self._prefix + repo
        task = await self._call(self._repositories.dump_submit, name)
        status = await self._done(lambda: self._call(self._repositories.dump_status, name, task.id))
        refs = status.refs
        return Refs(refs.commits_meta_range_id, refs.tags_meta_range_id, refs.branches_meta_range_id, await self._tip(name))

    async def restore(self, one: BackedUp) -> None:
        """Makes the repository over the objects that are in its namespace already. `main` is where the head was, and branches of later attempts are gone.

        What a restore that was cut short has made is finished. Raises `Conflict` when there is another repository of that name.
        """
        name = self._prefix + one.uid
        there = await self.namespace(one.uid)
        if there is None:
            creation = {"name": name, "storage_namespace": one.namespace, "default_branch": MAIN}
            await self._call(self._repositories.create_repository, creation, bare=True)
        if there is None or not await self._branches_of(name):
            refs = {key: value for key, value in asdict(one.refs).items() if key != "main"}
            task = await self._call(self._repositories.restore_submit, name, refs)
            await self._done(lambda: self._call(self._repositories.restore_status, name, task.id))
        main, tip = await self._standing_for(name, one.commit_id), await self._tip(name)
        if (there or one.namespace) != one.namespace or tip not in (one.refs.main, main):
            raise Conflict(f"versions: lakeFS has a repository {name!r} already; restore into an empty one.", field="versions")
        if main not in (tip, None):
            await self._call(self._experimental.hard_reset_branch, name, MAIN, main, force=True)
        for branch in await self._branches_of(name, ATTEMPTS):
            attempt = attempt_of(branch)
            if attempt is not None and attempt >= one.later[0]:
                await self._call(self._branches.delete_branch, name, branch, force=True)
        await self._call(self._repositories.set_branch_protection_rules, name, [{"pattern": MAIN}])

    async def close(self) -> None:
        """Waits for what runs."""
        await asyncio.to_thread(self._thread.shutdown)

    async def _tip(self, name: str) -> str:
        return str((await self._call(self._branches.get_branch, name, MAIN)).commit_id)

    async def _standing_for(self, name: str, head: str | None) -> str | None:
        """The commit of `main` that stands for `head`, or the first one of all; None when `main` has not come so far yet."""
        after, more = "", True
        while more:
            page = await self._call(self._refs.log_commits, name, MAIN, after=after, amount=_PAGE, first_parent=True)
            for commit in page.results:
                if (commit.metadata or {}).get(HEAD) == head if head is not None else not commit.parents:
                    return str(commit.id)
            after, more = page.pagination.next_offset, page.pagination.has_more
        return None

    async def _branches_of(self, name: str, prefix: str = "") -> list[str]:
        """Names; a repository that waits for its refs has none."""
        found: list[str] = []
        after, more = "", True
        while more:
            page = await self._call(self._branches.list_branches, name, prefix=prefix, after=after, amount=_PAGE)
            found += [branch.id for branch in page.results]
            after, more = page.pagination.next_offset, page.pagination.has_more
        return found

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
