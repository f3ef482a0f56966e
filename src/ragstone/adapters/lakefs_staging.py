"""Staged commits: a branch from the base, uploads several at a time, deletions, one commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ragstone.adapters import lakefs_layout as layout
from ragstone.adapters.lakefs_client import Record
from ragstone.adapters.lakefs_errors import Refused
from ragstone.adapters.lakefs_layout import Sidecar
from ragstone.adapters.lakefs_reading import Reader
from ragstone.adapters.lakefs_state import State, StateLog
from ragstone.domain.documents import StoredDocument
from ragstone.domain.errors import Conflict, Unavailable
from ragstone.domain.ids import new_id

_FEW = 32  # documents that are looked up one by one, however small the commit
_LISTED = 20  # documents of a listing for one look-up
_TRIES = 3


@dataclass(frozen=True, slots=True)
class About:
    """Who made a commit, why, and what else is known of it."""

    author: str
    message: str
    metadata: Mapping[str, str]


class Stager:
    """Stages commits of one repository."""

    def __init__(self, reader: Reader, states: StateLog) -> None:
        self._reader = reader
        self._client = reader.client
        self._states = states
        self._name = reader.name

    async def stage(
        self, attempt: int, base: str | None, puts: Sequence[StoredDocument], removes: Collection[str], about: About
    ) -> str | None:
        """See the port."""
        record, state = await self._base(base)
        removed = set(removes)
        documents = {document.info.path: (document, Sidecar.of(document)) for document in puts if document.info.path not in removed}
        masked = state.masked(record.id)
        known = await self._known(record, {*documents, *removed} - masked) if base is not None else {}
        changed = [both for path, both in documents.items() if known.get(path) != both[1].digest]
        gone = removed & known.keys()
        if not changed and not gone:
            return None
        growth = sum(both[0].info.path not in known for both in changed) - len(gone)
        branch = await self._branch(attempt, record.id)
        await self._reader.gathered(lambda both: self._upload(branch, attempt, *both), changed)
        doomed = gone | (masked - documents.keys())  # what was forgotten is not brought back
        await self._client.delete(self._name, branch, [key(path) for path in sorted(doomed) for key in _KEYS])
        count = (0 if base is None else self._reader.held(record) - len(masked)) + growth
        return (await self._commit(branch, record.id, _metadata(attempt, about, count), about.message)).id

    async def restore(self, attempt: int, base: str | None, target: str, about: About) -> str | None:
        """See the port. Costs the same however large the change is: the commit names the target's tree."""
        wanted, state = await self._reader.readable(target)
        record, _ = await self._base(base)
        if not await self._reader.diff(base, target):
            return None
        masked = state.masked(target)
        branch = await self._branch(attempt, record.id)
        tree = wanted.tree
        if masked:  # a tree without what was forgotten, made on the way
            aside = await self._commit(branch, record.id, _metadata(attempt, about, 0), about.message, tree)
            await self._client.delete(self._name, branch, [key(path) for path in sorted(masked) for key in _KEYS])
            tree = (await self._commit(branch, aside.id, _metadata(attempt, about, 0), about.message)).tree
            branch = await self._branch(attempt, record.id)
        count = self._reader.held(wanted) - len(masked)
        return (await self._commit(branch, record.id, _metadata(attempt, about, count), about.message, tree)).id

    async def drop(self, attempts: Collection[int], *, besides: str | None = None) -> None:
        """See the port. Where the branches were is remembered, so that a collection finds their documents, unless it is `besides`, of `main`."""
        wanted = {layout.branch(attempt) for attempt in attempts}
        tips = {name: tip for name, tip in (await self._client.branches(self._name, layout.ATTEMPTS)).items() if name in wanted}
        if not tips:
            return
        state = await self._reader.state()
        orphans = frozenset(tips.values()) - state.orphans - {state.root, besides}
        if orphans:
            await self._states.add(self._name, self._reader.repository, orphans=orphans)
        await self._reader.gathered(lambda name: self._client.delete_branch(self._name, name), sorted(tips))

    async def _base(self, base: str | None) -> tuple[Record, State]:
        if base is not None:
            return await self._reader.readable(base)
        state = await self._reader.state()
        return await self._reader.record(state.root), state

    async def _known(self, base: Record, paths: Collection[str]) -> dict[str, str]:
        """The digests of the sidecars of those of `paths` that the base holds."""
        if len(paths) > max(_FEW, self._reader.held(base) // _LISTED):
            listed = {layout.document_key(path): path for path in paths}
            return {
                listed[entry.key]: entry.metadata.get(layout.SIDECAR, "")
                async for entry in self._client.entries(self._name, base.id, layout.DOCUMENTS)
                if entry.key in listed
            }
        wanted = sorted(paths)
        found = await self._reader.gathered(lambda path: self._client.entry(self._name, base.id, layout.document_key(path)), wanted)
        return {path: entry.metadata.get(layout.SIDECAR, "") for path, entry in zip(wanted, found, strict=True) if entry is not None}

    async def _branch(self, attempt: int, commit: str) -> str:
        """A new branch of the attempt at `commit`; an older one goes."""
        await self.drop([attempt])
        branch = layout.branch(attempt)
        await self._client.create_branch(self._name, branch, commit)
        return branch

    async def _upload(self, branch: str, attempt: int, document: StoredDocument, sidecar: Sidecar) -> None:
        path = document.info.path
        await self._client.upload(self._name, branch, layout.sidecar_key(path), sidecar.encoded, "text/plain; charset=utf-8")
        # With the attempt: equal documents of two attempts are two objects for lakeFS, also where the older one was forgotten.
        metadata = {layout.SIDECAR: sidecar.digest, layout.ATTEMPT: str(attempt)}
        media_type = layout.content_type(document.info.media_type)
        await self._client.upload(self._name, branch, layout.document_key(path), document.content, media_type, metadata)

    async def _commit(self, branch: str, parent: str, metadata: Mapping[str, str], message: str, tree: str | None = None) -> Record:
        """One commit on `parent`, also when replies are lost: it is known by a token."""
        marked = {**metadata, layout.TOKEN: new_id()}
        for last in [False] * (_TRIES - 1) + [True]:
            try:
                record = await self._client.commit(self._name, branch, clean(message) or "(no message)", marked, tree)
            except (Conflict, Refused, Unavailable):
                tip = await self._client.tip(self._name, branch)
                record = await self._reader.record(tip or parent)
                if record.metadata.get(layout.TOKEN) != marked[layout.TOKEN]:
                    if last:
                        raise
                    continue
            if record.parents[0] != parent:  # a try that was given up had been done after all, and this one is empty
                record = await self._reader.record(record.parents[0])
            return record
        raise AssertionError("the last try returns or raises")


_KEYS = (layout.document_key, layout.sidecar_key)


def _metadata(attempt: int, about: About, count: int) -> dict[str, str]:
    """What the caller gives, the author, the attempt, and the number of documents. Lone surrogates, which lakeFS does not take, become '?'."""
    given = {**about.metadata, "Author": about.author, "Attempt": str(attempt), layout.COUNT: str(count)}
    return {clean(key): clean(value) for key, value in given.items()}


def clean(text: str) -> str:
    """As lakeFS can store it."""
    return text.encode("utf-8", "replace").decode()
