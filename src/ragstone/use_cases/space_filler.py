"""Fills a new space with the head's documents, batch by batch, beside whoever ingests (DESIGN.md section 4, Spaces; ADR 0028).

A batch is cut and embedded without the lease, which takes long; then the lease is taken for the time of writing, with an attempt of its own. Documents
that were changed between the two are read again. What is in the space is noted with the batch in one transaction, so that a process that was killed has
lost no more than the batch that it was at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ragstone.domain.builds import Build
from ragstone.domain.bulk import ShardProgress
from ragstone.domain.collections import Collection, Lease
from ragstone.domain.commits import Commit
from ragstone.domain.documents import Chunk, DocumentInfo
from ragstone.domain.errors import Busy, Conflict, NotFound, RagstoneError, Unavailable
from ragstone.domain.retrieval import Vector
from ragstone.ports.catalog import Catalog
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.bulk import Ahead, BulkEmbedding
from ragstone.use_cases.index_writer import ChangedDocument, IndexWriter, batches, check_vectors, chunk_all
from ragstone.use_cases.lease_guard import LeaseGuard
from ragstone.use_cases.progress import ProgressBoard
from ragstone.use_cases.spaces import Spaces
from ragstone.use_cases.turns import Turns
from ragstone.use_cases.visibility import Visibility

_DOCUMENTS, _CHUNKS = 64, 256  # a batch ends with either
_READ = 8  # documents read and cut at a time
_ASKED = 256  # hashes that the index is asked for at a time
_TEXTS = 32  # embedded in one call, so that questions are never far behind
_PATIENCE, _LOOK = 10.0, 0.05  # seconds that the lease is waited for at a time, and between two tries
_TTL = 30.0  # seconds of the lease: an ingest of another process waits no longer for one that was killed

Cut = list[tuple[DocumentInfo, tuple[Chunk, ...]]]


async def _nothing() -> None:
    """Nobody wants to hear that a step is alive."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Documents of one commit, cut and embedded. `last`: no document comes after them."""

    head: Commit
    documents: Cut
    vectors: dict[str, Vector]
    last: bool

    @property
    def paths(self) -> list[str]:
        return [info.path for info, _ in self.documents]


class SpaceFiller:
    """`holder` names this process in leases. `clock`: seconds, monotonic."""

    def __init__(
        self,
        catalog: Catalog,
        versions: VersionStore,
        index: VectorIndex,
        spaces: Spaces,
        visibility: Visibility,
        turns: Turns,
        holder: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        bulk: BulkEmbedding | None = None,
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._spaces = spaces
        self._visibility = visibility
        self._turns = turns
        self._holder = f"{holder} (filling)"  # not the holder of jobs, which may take over what is its own
        self._clock = clock
        self._bulk = bulk
        self._ahead: dict[str, tuple[Build, Ahead]] = {}  # by collection's uid: what shards have embedded and nobody has written yet
        self._left: dict[str, tuple[Build, _Batch]] = {}  # by collection's uid: what was embedded and could not be written

    async def step(self, name: str, alive: Callable[[], Awaitable[object]] = _nothing) -> bool:
        """One batch of the collection's build, or its preparation. Returns whether there is more to do. `alive` is called while shards are waited for.

        Raises `Unavailable` when the space's model is not loaded, `Busy` while another holds the lease, and what the stores raise: nothing is lost then.
        """
        collection = await self._catalog.collection(name)
        build = collection.unfinished
        if build is None:
            return False
        if build.state == "preparing":
            await self._prepare(collection, build)
            return True
        began = self._clock()
        known = self._left.pop(collection.uid, None)
        if known is not None and (known[0].id, known[0].after) == (build.id, build.after):
            batch = known[1]
        else:
            batch = await self._batch(collection, build, self._spaces.embedder(build.space), alive)
        try:
            more = await self._written(collection, build, batch, began)
        except (Busy, Unavailable):
            self._left[collection.uid] = build, batch  # what was embedded is not embedded again
            raise
        if not more and self._bulk is not None:
            self._ahead.pop(collection.uid, None)
            await self._bulk.forget(build.id)
        return more

    async def _written(self, collection: Collection, build: Build, batch: _Batch, began: float) -> bool:
        """Waits for whoever ingests, in this process or in another."""
        while True:
            try:
                async with self._turns.turn(collection.name), self._turns.filling(collection.name):
                    return await self._write(collection, build, batch, began)
            except Busy:
                if self._clock() - began > _PATIENCE:
                    raise
            await asyncio.sleep(_LOOK)

    async def _prepare(self, collection: Collection, build: Build) -> None:
        """The index, then the registration: from then on ingests write it."""
        index = collection.index_name(build.space.id)
        await self._index.create(index, build.space)
        try:
            await self._catalog.add_space(collection.name, build.space)
        except NotFound:  # deleted meanwhile
            await self._index.drop(index)
            raise
        except Conflict:  # given up meanwhile; whoever deletes its index finds it
            return

    async def _batch(
        self, collection: Collection, build: Build, embedder: EmbeddingModel, alive: Callable[[], Awaitable[object]]
    ) -> _Batch:
        head = await self._catalog.head(collection.name)
        if head is None:
            raise AssertionError("a space is built beside one that has documents")
        infos = await self._versions.documents(collection.uid, head.id, after=build.after, limit=_DOCUMENTS)
        documents: Cut = []
        for part in batches(infos, _READ):
            documents += await self._cut(collection, build, head.id, part)
            if sum(len(chunks) for _, chunks in documents) >= _CHUNKS:
                break
        ahead = await self._embedded_ahead(self._bulk, collection, build, head, alive) if self._bulk is not None else {}
        vectors = await self._embedded(collection.index_name(build.space.id), documents, embedder, ahead)
        return _Batch(head, documents, vectors, last=len(documents) == len(infos) < _DOCUMENTS)

    async def _cut(self, collection: Collection, build: Build, commit_id: str, infos: Sequence[DocumentInfo]) -> Cut:
        texts = await asyncio.gather(*(self._versions.extracted(collection.uid, commit_id, info.path) for info in infos))
        documents = [ChangedDocument(info, text) for info, text in zip(infos, texts, strict=True)]
        return await chunk_all(documents, self._spaces.embedder(build.space), build.space)

    async def _embedded_ahead(
        self, bulk: BulkEmbedding, collection: Collection, build: Build, head: Commit, alive: Callable[[], Awaitable[object]]
    ) -> Mapping[str, Vector]:
        """Vectors of the next documents, as far as shards have made them."""
        last, ahead = self._ahead.pop(collection.uid, (build, None))
        if ahead is not None and last.id == build.id:
            if build.after < ahead.until:
                self._ahead[collection.uid] = build, ahead
                return ahead.vectors
            await bulk.forget(build.id)  # all of it is written
        index, after, count = collection.index_name(build.space.id), build.after, 0
        documents: list[tuple[str, dict[str, str]]] = []
        while count < bulk.settings.window and (
            infos := await self._versions.documents(collection.uid, head.id, after=after, limit=_DOCUMENTS)
        ):
            for part in batches(infos, _READ):
                for info, chunks in await self._cut(collection, build, head.id, part):
                    texts = {chunk.content_hash: chunk.embedded_text for chunk in chunks}
                    for hashes in batches(list(texts), _ASKED):
                        for hashed in await self._index.vectors(index, hashes):
                            del texts[hashed]
                    documents.append((info.path, texts))
                    count += len(texts)
            after = infos[-1].path
            await alive()

        async def told(_: tuple[ShardProgress, ...]) -> None:  # whoever asks looks at the stage
            await alive()

        vectors = await bulk.embed(build.id, build.space, documents, told, shards=build.shards)
        self._ahead[collection.uid] = build, Ahead(vectors, after)
        return vectors

    async def _embedded(self, index: str, documents: Cut, embedder: EmbeddingModel, ahead: Mapping[str, Vector]) -> dict[str, Vector]:
        """Vectors of what the index does not know yet. `ahead`: of some that are made already."""
        texts = {chunk.content_hash: chunk.embedded_text for _, chunks in documents for chunk in chunks}
        known = await self._index.vectors(index, texts)
        vectors = {hashed: ahead[hashed] for hashed in texts if hashed in ahead and hashed not in known}
        for part in batches([hashed for hashed in texts if hashed not in known and hashed not in vectors], _TEXTS):
            rows = await embedder.embed_passages([texts[hashed] for hashed in part])
            check_vectors(rows, len(part), embedder.identity.dimension)
            vectors |= dict(zip(part, rows, strict=True))
        return vectors

    async def _write(self, collection: Collection, build: Build, batch: _Batch, began: float) -> bool:
        asked = self._clock()
        try:
            lease = await self._catalog.acquire_fill(collection.name, self._holder, _TTL)
        except Conflict:  # it was given up, or another process has ended it
            return True
        try:
            now = lease.collection.build(build.space.id)
            if lease.collection.uid != collection.uid or now is None or (now.id, now.after) != (build.id, build.after):
                await self._catalog.abort(lease)  # another process was faster
                return True
            async with LeaseGuard(self._catalog, lease, asked, self._clock) as guard:
                return await self._fill(guard, now, batch, began)
        except asyncio.CancelledError:
            await asyncio.shield(self._catalog.abort(lease))
            raise
        except Exception:
            with suppress(RagstoneError):  # whoever takes the lease next does it
                await self._catalog.abort(lease)
            raise

    async def _fill(self, guard: LeaseGuard, build: Build, batch: _Batch, began: float) -> bool:
        lease = guard.lease
        collection, space = lease.collection, build.space
        documents = await self._at_head(lease, build, batch)
        writer = IndexWriter(self._index, self._spaces.embedder(space), ProgressBoard(), self._visibility)
        written = await writer.write_chunks(collection, space, guard, lease.head_id or batch.head.id, documents, batch.paths, batch.vectors)
        await self._index.flush(collection.index_name(space.id))
        filled = replace(
            build,
            state="ready" if batch.last else "filling",
            after=batch.paths[-1] if batch.documents else build.after,
            documents=build.documents + len(documents),
            chunks=build.chunks + written.opened,
            embedded=build.embedded + written.embedded,
            reused=build.reused + written.reused,
            seconds=build.seconds + self._clock() - began,
        )
        await self._catalog.finish_fill(guard.lease, filled)
        return not batch.last

    async def _at_head(self, lease: Lease, build: Build, batch: _Batch) -> Cut:
        """The batch's documents as they are now. What was ingested since is in the space already, for ingests write it."""
        if lease.head_id is None or lease.head_id == batch.head.id:
            return batch.documents
        changes = await self._versions.diff(lease.collection.uid, batch.head.id, lease.head_id)
        kinds = {change.path: change.kind for change in changes}
        stayed = [(info, chunks) for info, chunks in batch.documents if info.path not in kinds]
        changed = [path for path in batch.paths if kinds.get(path) == "changed"]
        infos = await self._versions.infos(lease.collection.uid, lease.head_id, changed) if changed else {}
        return stayed + await self._cut(lease.collection, build, lease.head_id, [infos[path] for path in changed])
