"""Forgetting documents, and dropping those that no kept commit needs.

A commit of lakeFS stays for ever, so both are marks that every read looks at (`lakefs_state.py`). The bytes are deleted in the object store where
that is set; else lakeFS' own garbage collection has to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ragstone.adapters import lakefs_layout as layout
from ragstone.adapters.lakefs_client import Entry, Record
from ragstone.adapters.lakefs_main import mirrored
from ragstone.adapters.lakefs_reading import Reader
from ragstone.adapters.lakefs_state import State, StateLog
from ragstone.adapters.object_store import ObjectStore
from ragstone.domain.errors import DataDirectoryError, NotFound

_FEW = 50  # changes between two commits that are looked up one by one


@dataclass(slots=True)
class Plan:
    """What a collection would do. `gone`: commits whose documents go now. `doomed`: sizes by address, of what no kept commit needs."""

    gone: frozenset[str] = frozenset()
    doomed: dict[str, int] = field(default_factory=dict)


async def forget(reader: Reader, states: StateLog, path: str, commits: Collection[str]) -> int:
    """See the port."""
    state = await reader.state()
    known = sorted({commit for commit in commits if layout.is_commit_id(commit)} - state.collected.keys())
    key = layout.document_key(path)
    found = await reader.gathered(lambda commit: reader.client.entry(reader.name, commit, key), known)
    holding = [commit for commit, entry in zip(known, found, strict=True) if entry is not None and path not in state.masked(commit)]
    if holding:
        await states.add(reader.name, reader.repository, forgotten={commit: {path: False} for commit in holding})
    return len(holding)


async def collect(reader: Reader, states: StateLog, objects: ObjectStore | None, kept: Collection[str], since: str | None) -> int:
    """See the port. Without an object store the bytes are those that lakeFS' garbage collection is free to delete."""
    plan = await plan_collection(reader, kept, since, sweeping=objects is not None)
    state = await reader.state()
    if plan.gone:
        await states.add(reader.name, reader.repository, collected=dict.fromkeys(plan.gone, False))
    if objects is not None and (plan.gone or _unswept(state)):
        keys = [objects.key(address) for address in plan.doomed]
        if None in keys:
            raise DataDirectoryError(
                "versions.object_store.url: lakeFS keeps its objects elsewhere; name the same store there and in lakeFS."
            )
        await objects.delete([key for key in keys if key is not None])
        forgotten = {commit: dict.fromkeys(paths, True) for commit, paths in state.forgotten.items()}
        collected = dict.fromkeys([*state.collected, *plan.gone], True)
        await states.add(reader.name, reader.repository, collected=collected, forgotten=forgotten)
    return sum(plan.doomed.values())


async def plan_collection(reader: Reader, kept: Collection[str], since: str | None, *, sweeping: bool) -> Plan:
    """What to collect. `sweeping`: with what earlier collections marked, whose bytes were not deleted yet."""
    state = await reader.state()
    graph = await _history(reader, state)
    needed, foreign = await _needed(reader, graph, state, kept, since)
    gone = frozenset(graph) - needed - state.collected.keys() - {state.root}
    left = {commit for commit, done in state.collected.items() if not done} if sweeping else set()
    masks = {
        commit: {path for path, done in paths.items() if not done}
        for commit, paths in state.forgotten.items()
        if sweeping and commit in graph and not all(paths.values())
    }
    if not gone and not left and not masks:
        return Plan()
    walk = _Walk(reader)
    wanted: set[str] = set()
    candidates: dict[str, int] = {}
    relevant = (needed | gone | left | masks.keys()) & graph.keys()
    for record in sorted((graph[commit] for commit in relevant), key=lambda record: (record.generation, record.id)):
        await walk.to(record.id)
        masked = {key for path in state.masked(record.id) for key in (layout.document_key(path), layout.sidecar_key(path))}
        if record.id in needed:
            wanted.update(entry.address for key, entry in walk.entries.items() if key not in masked)
        else:
            candidates.update((entry.address, entry.size) for entry in walk.entries.values())
        swept = {key for path in masks.get(record.id, ()) for key in (layout.document_key(path), layout.sidecar_key(path))}
        candidates.update((walk.entries[key].address, walk.entries[key].size) for key in swept & walk.entries.keys())
    for ref in foreign:
        wanted.update([entry.address async for entry in reader.client.entries(reader.name, ref)])
    return Plan(gone, {address: size for address, size in candidates.items() if address not in wanted})


class _Walk:
    """The objects of one commit after another: the first is listed, then only what differs is looked at."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._at: str | None = None
        self.entries: dict[str, Entry] = {}

    async def to(self, commit: str) -> None:
        """Makes `entries` those of `commit`."""
        client, name = self._reader.client, self._reader.name
        changes = await client.diff(name, self._at, commit, "") if self._at is not None else None
        present = [change.key for change in changes or () if change.kind != "removed"]
        if changes is None or len(present) > max(_FEW, len(self.entries) // 20):
            self.entries = {entry.key: entry async for entry in client.entries(name, commit)}
        else:
            for change in changes:
                self.entries.pop(change.key, None)
            found = await self._reader.gathered(lambda key: client.entry(name, commit, key), present)
            self.entries.update((entry.key, entry) for entry in found if entry is not None)
        self._at = commit


async def _history(reader: Reader, state: State) -> dict[str, Record]:
    """Every commit that ragstone staged, whether a branch leads to it or not."""
    graph: dict[str, Record] = {state.root: await reader.record(state.root)}
    tips = await reader.client.branches(reader.name)
    main = tips.get(layout.MAIN, state.root)
    if (head := mirrored(await reader.record(main))) is not None:
        graph.update((record.id, record) for record in await reader.client.log(reader.name, head))
    for end in [*(tip for name, tip in tips.items() if layout.attempt_of(name) is not None), *state.orphans]:
        at = mirrored(await reader.record(end))
        while at is not None and at not in graph:
            graph[at] = await reader.record(at)
            at = graph[at].parents[0] if graph[at].parents else None
    return graph


async def _needed(
    reader: Reader, graph: dict[str, Record], state: State, kept: Iterable[str], since: str | None
) -> tuple[set[str], list[str]]:
    """The commits that stay readable, and the branches and tags of people, whose objects stay."""
    needed: set[str] = set()
    for commit in kept:
        try:
            record = await reader.record(commit)
        except NotFound:
            continue
        graph[record.id] = record
        needed.add(record.id)
    foreign: list[str] = []
    branches = await reader.client.branches(reader.name)
    for name, tip in [*branches.items(), *(await reader.client.tags(reader.name)).items()]:
        if name == layout.STATE and name in branches:
            continue
        at = mirrored(await reader.record(tip)) if tip != state.root else tip
        ours = name in branches and (name == layout.MAIN or layout.attempt_of(name) is not None)
        if at is None or not ours:
            foreign.append(name)
        if at is None or at == state.root:
            continue
        graph[at] = await reader.record(at)  # it may be younger than the history that was read
        needed.add(at)
        if ours:
            needed |= _made_since(graph, at, since)
    return needed - state.collected.keys(), foreign


def _made_since(graph: dict[str, Record], tip: str, since: str | None) -> set[str]:
    """The commits from `tip` back to `since`; none when it is not behind the tip."""
    way: set[str] = set()
    at: str | None = tip
    while since is not None and at is not None and at != since:
        way.add(at)
        record = graph.get(at)
        at = record.parents[0] if record is not None and record.parents else None
    return way if at is not None and since is not None else set()


def _unswept(state: State) -> bool:
    return not all(state.collected.values()) or any(not all(paths.values()) for paths in state.forgotten.values())
