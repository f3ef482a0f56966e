"""Reads of commits: what lakeFS holds, without what was forgotten or collected."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from ragstone.adapters import lakefs_layout as layout
from ragstone.adapters.lakefs_client import Entry, LakeFsClient, Record
from ragstone.adapters.lakefs_state import State, StateLog
from ragstone.domain.commits import DocumentChange
from ragstone.domain.documents import DocumentInfo, ExtractedText, StoredDocument, checksum
from ragstone.domain.errors import DataDirectoryError, NotFound

T = TypeVar("T")
U = TypeVar("U")
_BEGINNING = 4_096  # bytes of a sidecar; what is known of most documents is shorter
_REMEMBERED = 32 * 2**20  # bytes of what is known of documents
_RECORDS = 10_000


class Reader:
    """Reads of one repository, `name` in lakeFS and `repository` in ragstone."""

    def __init__(self, client: LakeFsClient, states: StateLog, name: str, repository: str) -> None:
        self.client = client
        self.name = name
        self.repository = repository
        self._states = states
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._infos: OrderedDict[str, tuple[DocumentInfo, int]] = OrderedDict()  # by digest of the sidecar, with the bytes that it takes
        self._held = 0

    async def state(self) -> State:
        """As it is now."""
        return await self._states.read(self.name, self.repository)

    async def record(self, commit: str) -> Record:
        """A commit, collected or not. Raises `NotFound`."""
        if commit in self._records:
            return self._records[commit]
        if not layout.is_commit_id(commit):
            raise _unknown(commit)
        try:
            record = await self.client.record(self.name, commit)
        except NotFound:
            raise _unknown(commit) from None
        self._records[commit] = record
        if len(self._records) > _RECORDS:
            self._records.popitem(last=False)
        return record

    async def readable(self, commit: str) -> tuple[Record, State]:
        """A commit whose documents are there. Raises `NotFound`."""
        state = await self.state()
        record = await self.record(commit)
        if commit in state.collected:
            raise NotFound("the documents of this commit were pruned; ask for another commit.", field="commit")
        return record, state

    async def within(self, commit: str, read: Callable[[State], Awaitable[T]]) -> T:
        """What `read` gives for the state that it was begun with, as long as nothing of the commit was forgotten or collected before it ended."""
        while True:
            _, state = await self.readable(commit)
            try:
                found = await read(state)
            except (DataDirectoryError, NotFound):
                if not await self._changed(commit, state):
                    raise
            else:
                if not await self._changed(commit, state):
                    return found

    async def _changed(self, commit: str, state: State) -> bool:
        """Whether something more was forgotten in the commit. Raises `NotFound` when it was collected."""
        _, now = await self.readable(commit)
        return now.masked(commit) != state.masked(commit)

    async def read(self, commit: str, path: str) -> StoredDocument:
        """See the port."""

        async def both() -> tuple[bytes, bytes]:
            content = self.client.content(self.name, commit, layout.document_key(path))
            return tuple(await asyncio.gather(content, self.client.content(self.name, commit, layout.sidecar_key(path))))  # type: ignore[return-value]

        content, sidecar = await self._of(commit, path, both)
        info, extracted = _parse(sidecar)
        if checksum(content) != info.checksum:
            raise _damaged(path)
        return StoredDocument(info, content, extracted)

    async def extracted(self, commit: str, path: str) -> ExtractedText:
        """See the port."""
        return _parse(await self._of(commit, path, lambda: self.client.content(self.name, commit, layout.sidecar_key(path))))[1]

    async def _of(self, commit: str, path: str, get: Callable[[], Awaitable[T]]) -> T:
        async def unless_masked(state: State) -> T:
            if path not in state.masked(commit):
                try:
                    return await get()
                except NotFound:
                    pass
            raise NotFound(f"there is no document {path[:200]!r} in this commit.", field="path")

        return await self.within(commit, unless_masked)

    async def infos(self, commit: str, paths: Iterable[str]) -> dict[str, DocumentInfo]:
        """See the port."""

        async def look(state: State) -> dict[str, DocumentInfo]:
            wanted = sorted(set(paths) - state.masked(commit))
            found = await self.gathered(lambda path: self._head(commit, layout.key(path)), wanted)
            return {path: info for path, info in zip(wanted, found, strict=True) if info is not None}

        paths = list(paths)
        return await self.within(commit, look)

    async def documents(self, commit: str, *, prefix: str, after: str, limit: int) -> list[DocumentInfo]:
        """See the port."""
        return await self.within(commit, lambda state: self._page(commit, state, prefix, after, limit))

    async def count(self, commit: str) -> int:
        """See the port."""
        record, state = await self.readable(commit)
        return self.held(record) - len(state.masked(commit))

    def held(self, record: Record) -> int:
        """How many documents were in the commit when it was made."""
        if not record.metadata.get(layout.COUNT, "").isdecimal():
            raise DataDirectoryError(
                f"versions: commit {record.id[:12]} was not made by ragstone; ask for one of the collection's history."
            )
        return int(record.metadata[layout.COUNT])

    async def diff(self, before: str | None, after: str) -> list[DocumentChange]:
        """See the port."""
        if before is None:
            return [DocumentChange(path, "added") for path in await self.within(after, lambda state: self._paths(after, state))]
        first = before
        return await self.within(
            first, lambda old: self.within(after, lambda new: self._diff(first, after, old.masked(first), new.masked(after)))
        )

    async def _diff(self, before: str, after: str, masked_before: frozenset[str], masked_after: frozenset[str]) -> list[DocumentChange]:
        masked = {layout.key(path): path for path in masked_before | masked_after}
        kinds: dict[str, str] = {}
        for line in await self.client.diff(self.name, before, after, layout.DOCUMENTS):
            key = line.key.removeprefix(layout.DOCUMENTS)
            path = masked.get(key) or await self._path(before if line.kind == "removed" else after, key)
            kinds[path] = line.kind
        return sorted(_masked_diff(kinds, masked_before, masked_after), key=lambda change: change.path)

    async def _paths(self, commit: str, state: State) -> list[str]:
        masked = {layout.document_key(path) for path in state.masked(commit)}
        keys = [entry.key async for entry in self.client.entries(self.name, commit, layout.DOCUMENTS) if entry.key not in masked]
        return sorted([await self._path(commit, key.removeprefix(layout.DOCUMENTS)) for key in keys])

    async def _path(self, commit: str, key: str) -> str:
        return (await self._info_of_key(commit, key)).path if layout.shortened(key) else key

    async def gathered(self, work: Callable[[U], Awaitable[T]], items: Sequence[U]) -> list[T]:
        """`work` on each, some at a time; all of them end before an error is raised."""
        results: dict[int, T] = {}
        waiting = iter(range(len(items)))
        errors: list[Exception] = []

        async def worker() -> None:
            for at in waiting:
                if errors:
                    return
                try:
                    results[at] = await work(items[at])
                except Exception as error:  # whatever it is, it is raised when nothing is on its way any more
                    errors.append(error)

        await asyncio.gather(*(worker() for _ in range(min(self.client.concurrency, len(items)))))
        if errors:
            raise errors[0]
        return [results[at] for at in range(len(items))]

    async def _page(self, commit: str, state: State, prefix: str, after: str, limit: int) -> list[DocumentInfo]:
        masked = {layout.document_key(path) for path in state.masked(commit)}
        start, found = layout.DOCUMENTS + layout.key_prefix(prefix), list[DocumentInfo]()
        key = layout.document_key(after) if after else ""
        while len(found) < limit:
            entries = await self.client.listing(self.name, commit, start, after=key, amount=limit - len(found) + len(masked))
            infos = await self.gathered(lambda entry: self._info_of(commit, entry), [entry for entry in entries if entry.key not in masked])
            found += [info for info in infos if info.path.startswith(prefix) and info.path > after]
            if not entries:
                break
            key = entries[-1].key
        return found[:limit]

    async def _info_of(self, commit: str, entry: Entry) -> DocumentInfo:
        digest = entry.metadata.get(layout.SIDECAR, "")
        if digest in self._infos:
            self._infos.move_to_end(digest)
            return self._infos[digest][0]
        info = await self._info_of_key(commit, entry.key.removeprefix(layout.DOCUMENTS))
        if digest:
            self._remember(digest, info)
        return info

    async def _info_of_key(self, commit: str, key: str) -> DocumentInfo:
        info = await self._head(commit, key)
        if info is None:
            raise _damaged(key)
        return info

    async def _head(self, commit: str, key: str) -> DocumentInfo | None:
        try:
            encoded = await self.client.content(self.name, commit, layout.SIDECARS + key, first=_BEGINNING)
            info = layout.head(encoded) if len(encoded) <= _BEGINNING else None
            return info or _parse(await self.client.content(self.name, commit, layout.SIDECARS + key))[0]
        except NotFound:
            return None

    def _remember(self, digest: str, info: DocumentInfo) -> None:
        size = 1_000 + len(info.path) + sum(len(str(value)) for value in info.metadata.values())
        self._infos[digest] = info, size
        self._held += size
        while self._held > _REMEMBERED:
            self._held -= self._infos.popitem(last=False)[1][1]


def _masked_diff(kinds: dict[str, str], before: frozenset[str], after: frozenset[str]) -> list[DocumentChange]:
    """The diff as it reads. A path that is masked in one of the two and not in the diff is the same document in both."""
    changes: list[DocumentChange] = []
    for path in {*kinds, *before, *after}:
        kind = kinds.get(path, "same")
        was, is_ = kind != "added" and path not in before, kind != "removed" and path not in after
        if was != is_:
            changes.append(DocumentChange(path, "removed" if was else "added"))
        elif was and kind == "changed":
            changes.append(DocumentChange(path, "changed"))
    return changes


def _parse(sidecar: bytes) -> tuple[DocumentInfo, ExtractedText]:
    try:
        return layout.parse(sidecar)
    except (ValueError, KeyError, TypeError):
        raise _damaged("") from None


def _damaged(path: str) -> DataDirectoryError:
    return DataDirectoryError(
        f"versions: document {path[:200]!r} is not as ragstone wrote it to lakeFS; restore the object store from a backup."
    )


def _unknown(commit: str) -> NotFound:
    return NotFound(f"the version store has no commit {commit[:64]!r}.", field="commit")
