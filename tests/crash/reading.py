"""A reader's reads: at the head and as of old commits, while writers write and processes die."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit, Snapshot
from ragstone.domain.errors import Gone
from ragstone.domain.retrieval import RetrievalSettings, SearchQuery
from tests.crash.oracle import COLLECTION, Expected, commits, keys
from tests.crash.workload import PATHS
from tests.crash.world import CrashWorld

_QUESTIONS = ("When does the ferry leave?", "The lamp is lit at dusk", "storm at midnight", "what the captain wrote")


@dataclass
class Reads:
    """Each is compared with the version store at the commit that it says it is from."""

    world: CrashWorld
    expected: Expected
    rng: random.Random
    _known: list[Commit] = field(default_factory=list)

    async def one(self) -> bool | str | None:
        """Whether it was checked (None: there was nothing to be read), or what was wrong with it."""
        if not self._known or self.rng.random() < 0.02:
            self._known = await commits(self.world.bare)
        if not self._known:
            await asyncio.sleep(0.01)
            return None
        as_of = None if self.rng.random() < 0.5 else self.rng.choice(self._known).id
        try:
            collection, snapshot = await self.world.platform.snapshots.resolve(COLLECTION, as_of)
            async with self.world.platform.snapshots.reading(collection, snapshot):
                return await (self._visible if self.rng.random() < 0.6 else self._search)(collection, snapshot)
        except Gone as gone:
            asked = snapshot.commit_id if as_of is None else as_of
            self._known = await commits(self.world.bare)
            return None if asked not in {commit.id for commit in self._known} else f"a commit that is kept is gone: {gone.message}"

    async def _visible(self, collection: Collection, snapshot: Snapshot) -> bool | str:
        wanted = await self._wanted(collection, snapshot)
        chunks = await self.world.bare.index.visible(collection.index_name(snapshot.space_id), snapshot.seq, snapshot.gaps, PATHS)
        if len(chunks) != len(wanted) or keys(chunks) != wanted:
            return f"{len(chunks)} chunks are visible at #{snapshot.position} (head: {snapshot.was_head}), its documents have {len(wanted)}"
        return True

    async def _search(self, collection: Collection, snapshot: Snapshot) -> bool | str:
        wanted = await self._wanted(collection, snapshot)
        query = SearchQuery(self.rng.choice(_QUESTIONS), settings=RetrievalSettings(top_k=10))
        passages = await self.world.platform.search.run(collection, snapshot, query)
        found = [passage.chunk for passage in passages]
        if len(found) != min(10, len(wanted)) or not keys(found) <= wanted:
            return f"a search at #{snapshot.position} (head: {snapshot.was_head}) found {len(found)} chunks of {len(wanted)}"
        return True

    async def _wanted(self, collection: Collection, snapshot: Snapshot) -> frozenset[Any]:
        infos = await self.world.bare.versions.documents(collection.uid, snapshot.commit_id, limit=10_000)
        return await self.expected.of(collection, snapshot.commit_id, infos)
