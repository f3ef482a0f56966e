"""The stores of a cluster's backup, over the fakes of a version store and of an index."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import AsyncGenerator, AsyncIterable
from pathlib import Path

from ragstone.adapters.cluster_backup_manifest import BackedUp, Refs
from ragstone.domain.errors import Conflict, DataDirectoryError
from tests.fakes.vector_index import InMemoryVectorIndex
from tests.fakes.version_store import InMemoryVersionStore


class FileRepositories:
    """`Repositories` of a version store in memory. A dump is one file, below `directory`, of the repository's namespace; its refs are the file's name."""

    def __init__(self, versions: InMemoryVersionStore, directory: Path) -> None:
        self._versions = versions
        self._directory = directory

    async def namespace(self, repo: str) -> str | None:
        return f"local://{self._directory}/{repo}" if repo in self._versions.held() else None

    async def dump(self, repo: str) -> Refs:
        content = pickle.dumps(self._versions.held()[repo])
        name = hashlib.sha256(content).hexdigest()
        (self._directory / repo / "data").mkdir(parents=True, exist_ok=True)
        (self._directory / repo / "data" / name).write_bytes(content)
        return Refs(name, name, name, "")

    async def restore(self, one: BackedUp) -> None:
        file = Path(one.namespace.removeprefix("local://")) / "data" / one.refs.commits_meta_range_id
        repository = pickle.loads(file.read_bytes())
        if self._versions.held().get(one.uid, repository) != repository:
            raise Conflict(f"There is a repository {one.uid!r} already.", field="versions")
        self._versions.held()[one.uid] = repository
        repository.main = one.commit_id
        await self._versions.drop_attempts(one.uid, range(one.later[0], one.later[1] + 1))


class PickledIndexes:
    """`IndexSnapshots` of an index in memory."""

    def __init__(self, index: InMemoryVectorIndex) -> None:
        self._index = index

    async def snapshot(self, index: str) -> AsyncGenerator[bytes, None]:
        content = pickle.dumps(self._index.held()[index])
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    async def restore(self, index: str, content: AsyncIterable[bytes]) -> None:
        whole = b"".join([piece async for piece in content])
        try:
            self._index.held()[index] = pickle.loads(whole)
        except pickle.UnpicklingError as error:
            raise DataDirectoryError("What was given is no snapshot of an index.", field="backup") from error
