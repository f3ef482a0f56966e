"""Brings what people pushed to the version store into a collection, by the ordinary write path."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ragstone.domain.access import Principal, Scope
from ragstone.domain.collections import Collection
from ragstone.domain.errors import InvalidInput, NotFound
from ragstone.domain.inbox import Push
from ragstone.domain.jobs import Delete, Job
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.ports.catalog import Catalog
from ragstone.ports.inbox import Inbox
from ragstone.use_cases.exclusive import Exclusive
from ragstone.use_cases.ingest import Ingest
from ragstone.use_cases.limits import Limits

PRINCIPAL = "lakefs"  # whose jobs they are: whoever may push to the inbox may change the collection
_PUSHER = Principal(PRINCIPAL, Scope.ADMIN)  # the version store knows no groups: who writes there sees all of it
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a push. `too_large`: paths of documents that are larger than is taken. Nothing new: no `tip`, no jobs."""

    collection: str
    tip: str | None = None
    jobs: tuple[Job, ...] = ()
    too_large: tuple[str, ...] = ()


class Inboxes:
    """One of all collections. Two that take from one inbox take turns, in all processes."""

    def __init__(self, catalog: Catalog, inbox: Inbox, ingest: Ingest, turns: Exclusive, limits: Limits) -> None:
        self._catalog = catalog
        self._inbox = inbox
        self._ingest = ingest
        self._turns = turns
        self._limits = limits

    async def take(self, repository: str) -> Taken:
        """Accepts everything that is new in the inbox of the version store's `repository`, to its tip; done again it changes nothing.

        A load beyond the limits of one request becomes several. Raises `NotFound`; `InvalidInput` when nothing of it can be ingested; what
        `Ingest.submit` raises: then the next one takes it.
        """
        collection = await self._collection(repository)
        async with self._turns.turn(f"{collection.name}/inbox"):
            push = await self._inbox.push(collection.uid)
            if push is None:
                return Taken(collection.name)
            taken = await self._accept(collection, push)
            await self._inbox.take(collection.uid, push)
            return taken

    async def _collection(self, repository: str) -> Collection:
        uid = self._inbox.repository(repository)
        for collection in await self._catalog.collections():
            if collection.uid == uid:
                return collection
        raise NotFound(f"there is no collection whose repository is {repository[:100]!r}.", field="repository")

    async def _accept(self, collection: Collection, push: Push) -> Taken:
        jobs, too_large = list[Job](), tuple(put.path for put in push.puts if put.size > self._limits.document_bytes)
        refused: InvalidInput | None = None
        number = 0
        async for request in self._requests(collection.uid, push):
            try:
                # The same whenever it is taken again: a crash before `Inbox.take` makes no second job.
                key = f"inbox/{push.tip}/{number}"
                jobs.append(await self._ingest.submit(collection.name, request, principal=_PUSHER, idempotency_key=key))
            except InvalidInput as error:  # every document of it was refused; it would be the next time
                refused = error
            number += 1
        if refused is not None and not jobs:
            await self._inbox.take(collection.uid, push)
            raise refused
        for path in too_large:
            _log.warning("%s: a document of the inbox is larger than limits.document_bytes and is left out: %s", collection.name, path)
        return Taken(collection.name, push.tip, tuple(jobs), too_large)

    async def _requests(self, repo: str, push: Push) -> AsyncIterator[IngestRequest]:
        author, message = (push.author or PRINCIPAL)[:200], push.message[:10_000]
        deletes = tuple(Delete(path) for path in push.removes)
        uploads, size = list[Upload](), 0
        for put in push.puts:
            if put.size > self._limits.document_bytes:
                continue
            if uploads and (len(uploads) == self._limits.documents or size + put.size > self._limits.request_bytes):
                yield IngestRequest(tuple(uploads), deletes, author=author, message=message)
                uploads, size, deletes = [], 0, ()
            uploads.append(Upload(put.path, await self._inbox.read(repo, push.tip, put.path)))
            size += put.size
        if uploads or deletes:
            yield IngestRequest(tuple(uploads), deletes, author=author, message=message)
