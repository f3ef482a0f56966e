"""Re-embedding: a collection gets another embedding space, without a bad minute (DESIGN.md section 4, Spaces; ADR 0028)."""

from __future__ import annotations

from collections.abc import Callable

from ragstone.domain.access import LOCAL, Principal
from ragstone.domain.builds import Build, SpaceStatus
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.domain.errors import Conflict, InvalidInput, NotFound
from ragstone.domain.ids import new_id
from ragstone.domain.jobs import Job, Switch
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.catalog import Catalog
from ragstone.use_cases.build_jobs import BuildJobs
from ragstone.use_cases.ingest import Ingest
from ragstone.use_cases.spaces import Spaces

KEEP = 7 * 86_400.0  # seconds


class Reembedding:
    """Builds, switches and drops spaces. `wake`: tells whoever builds that there is something to do.

    `keep`: seconds after the switch from a space during which commits that are kept hold it.
    """

    def __init__(
        self,
        catalog: Catalog,
        spaces: Spaces,
        ingest: Ingest,
        wake: Callable[[], None],
        builds: BuildJobs,
        keep: float = KEEP,
    ) -> None:
        self._catalog = catalog
        self._spaces = spaces
        self._ingest = ingest
        self._wake = wake
        self._builds = builds
        self._keep = keep

    async def start(
        self,
        name: str,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        min_tokens: int | None = None,
        workers: int | None = None,
        principal: Principal = LOCAL,
    ) -> SpaceStatus:
        """Begins to build a space beside the live one, in the background; asked for again while it is built, it changes nothing.

        `model`: name or digest of a loaded model, None: that of new collections. `max_tokens`, `min_tokens`: the chunker's, None: those of new collections.
        `workers`: how many shards shall embed at once, None: as many as the settings say.
        Raises `NotFound`, `InvalidInput`, `Conflict` when the collection is empty, has that space, or another one is being built, and `Busy` while
        an earlier index of the space is being deleted.
        """
        collection, head = await self._catalog.collection(name), await self._catalog.head(name)
        if head is None:
            raise Conflict(f"Collection {name!r} is empty; delete it and make it anew, which embeds nothing.", field="collection")
        if workers is not None and not self._builds.in_bulk:
            raise InvalidInput("workers: this server has no runner of bulk work; set bulk.kind, or leave the number out.", field="workers")
        target = self._spaces.target(collection.space(head.space_id), model, max_tokens, min_tokens)
        if target.id == head.space_id:
            raise Conflict(
                f"Collection {name!r} is in embedding space {target.id} already: the same model, parsers and chunker. Name another model.",
                field="model",
            )
        collection = await self._catalog.begin_build(name, Build(new_id(), target, principal.name, "preparing", shards=workers or 0))
        self._wake()
        return await self._status(collection, head, target)

    async def status(self, name: str) -> list[SpaceStatus]:
        """Every space of the collection, the live one first, then in the order of their coming. Raises `NotFound`."""
        collection, head = await self._catalog.collection(name), await self._catalog.head(name)
        spaces = {space.id: space for space in (*collection.spaces, *(build.space for build in collection.builds))}
        found = [await self._status(collection, head, space) for space in spaces.values()]
        return sorted(found, key=lambda status: status.state != "live")

    async def switch(self, name: str, space_id: str | None = None, *, principal: Principal = LOCAL) -> Job:
        """Queues the switch of reads to a space; None: the one that was built and is not read yet. The job publishes a commit of the same documents.

        Raises `NotFound`, and `Conflict` for a space that is not complete, or when None could be several.
        """
        collection, head = await self._catalog.collection(name), await self._catalog.head(name)
        if space_id is None:
            built = [
                build.space.id
                for build in collection.builds
                if build.state == "ready" and (head is None or build.space.id != head.space_id)
            ]
            if len(built) != 1:
                what = "No embedding space is ready" if not built else "Several embedding spaces are ready; name one of them"
                raise Conflict(f"{what} ({', '.join(built) or 'see the status of the build'}).", field="space")
            space_id = built[0]
        space = self._find(collection, space_id)
        if not collection.complete(space.id):
            raise Conflict(f"Embedding space {space.id} does not hold every document yet; wait until it is ready.", field="space")
        self._spaces.embedder(space)  # raises: questions could not be embedded
        message = f"Switch to embedding space {space.id} ({space.model.name})"
        return await self._ingest.submit_change(name, Switch(space.id), message, principal=principal, author=principal.name)

    async def drop(self, name: str, space_id: str, *, force: bool = False, principal: Principal = LOCAL) -> SpaceStatus:
        """Gives up a build, or drops a space that is read no more: ingests do not write it from now on, and its index is deleted after a grace period.

        Commits that are kept and were read from it can't be searched any more; their documents stay, and can be rolled back to. Raises `NotFound`,
        and `Conflict` when the head is read from it, or, unless `force`, such a commit while the time to `keep` a space is not over.
        """
        space = self._find(await self._catalog.collection(name), space_id)
        collection = await self._catalog.drop_space(name, space.id, principal.name, 0.0 if force else self._keep)
        self._wake()
        return await self._status(collection, await self._catalog.head(name), space)

    async def abort(self, name: str, *, principal: Principal = LOCAL) -> SpaceStatus:
        """Gives up what was built and never switched to. Raises `NotFound` when there is no such space, `Conflict` when there are several."""
        collection, head = await self._catalog.collection(name), await self._catalog.head(name)
        unread = [
            build.space.id for build in collection.builds if build.state != "dropped" and (head is None or build.space.id != head.space_id)
        ]
        unfinished = [collection.unfinished.space.id] if collection.unfinished else unread
        if not unfinished:
            raise NotFound(f"No embedding space of collection {name!r} is being built.", field="space")
        if len(unfinished) > 1:
            raise Conflict(f"Several embedding spaces are ready ({', '.join(unfinished)}); drop one by its id.", field="space")
        return await self.drop(name, unfinished[0], principal=principal)

    def _find(self, collection: Collection, space_id: str) -> EmbeddingSpace:
        """By its id, or by 4 or more digits that only it begins with."""
        spaces = {space.id: space for space in (*collection.spaces, *(build.space for build in collection.builds))}
        fitting = [space for known, space in spaces.items() if known == space_id or (len(space_id) >= 4 and known.startswith(space_id))]
        if len(fitting) != 1:
            raise NotFound(f"Collection {collection.name!r} has no embedding space {space_id[:80]!r}.", field="space")
        return fitting[0]

    async def _status(self, collection: Collection, head: Commit | None, space: EmbeddingSpace) -> SpaceStatus:
        build = collection.build(space.id)
        live = head.space_id if head else collection.space_id
        total = head.stats.documents if head else 0
        loaded = self._spaces.has(space)
        if build is None:
            return SpaceStatus(space, "live" if space.id == live else "old", None, total, 0.0, None, loaded)
        state = "live" if space.id == live else build.state
        return SpaceStatus(space, state, build, total, build.rate(), build.seconds_left(total), loaded, await self._builds.shards(build))
