"""Branch `inbox` of a collection's repository in lakeFS: people put files under documents/ there and commit them (docs/lakefs.md)."""

from __future__ import annotations

from collections.abc import Callable

from ragstone.adapters import lakefs_layout as layout
from ragstone.adapters.lakefs_reading import Reader
from ragstone.adapters.lakefs_state import StateLog
from ragstone.domain.inbox import Push, PushedDocument


class LakeFsInbox:
    """Implements `Inbox`. What was taken is part of the repository's state.

    An object that ragstone wrote carries the digest of its sidecar; one that people put carries none. So what a merge of `main` brings into the inbox
    is known from what people did there.
    """

    def __init__(self, reader: Callable[[str], Reader], states: StateLog, prefix: str) -> None:
        self._reader = reader
        self._states = states
        self._prefix = prefix

    async def push(self, repo: str) -> Push | None:
        reader = self._reader(repo)
        client, state = reader.client, await reader.state()
        tip = await client.tip(reader.name, layout.INBOX)
        if tip is None or tip == state.inbox[1]:
            return None
        ours = await client.merge_base(reader.name, layout.MAIN, tip)
        before = state.inbox[1] or ours
        puts, removes = list[PushedDocument](), list[str]()
        for line in await client.diff(reader.name, before, tip, layout.DOCUMENTS):
            path = line.key.removeprefix(layout.DOCUMENTS)
            if layout.shortened(path) or layout.SIDECAR in line.metadata:
                continue
            if line.kind != "removed":
                puts.append(PushedDocument(path, line.size))
            elif await self._removed(reader, before, ours, line.key):
                removes.append(path)
        if not puts and not removes:
            return None
        record = await client.record(reader.name, tip)
        return Push(tip, record.committer, record.message, tuple(puts), tuple(removes))

    @staticmethod
    async def _removed(reader: Reader, before: str, ours: str, key: str) -> bool:
        """Whether people removed it: it was theirs, or `main` had it when both were one last. Else it went from `main`, and then with a merge."""
        entry = await reader.client.entry(reader.name, before, key)
        theirs = entry is not None and layout.SIDECAR not in entry.metadata
        return theirs or await reader.client.entry(reader.name, ours, key) is not None

    async def read(self, repo: str, tip: str, path: str) -> bytes:
        reader = self._reader(repo)
        return await reader.client.content(reader.name, tip, layout.document_key(path))

    async def take(self, repo: str, push: Push) -> None:
        reader = self._reader(repo)
        if (await reader.state()).inbox[1] != push.tip:
            generation = (await reader.client.record(reader.name, push.tip)).generation
            await self._states.add(reader.name, reader.repository, inbox=(generation, push.tip))

    def repository(self, name: str) -> str | None:
        return name.removeprefix(self._prefix) if name.startswith(self._prefix) else None
