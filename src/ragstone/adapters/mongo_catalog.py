"""Catalog in MongoDB: what writes is one transaction on a collection's document, on the server's clock (ADR 0019). The commands are in
`mongo_jobs`, `mongo_attempts`, `mongo_commits`, `mongo_spaces`, `mongo_retention` and `mongo_locks`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from ragstone.adapters import codecs, mongo_attempts, mongo_checks, mongo_commits, mongo_jobs, mongo_locks, mongo_retention, mongo_spaces
from ragstone.adapters.dependency import Dependency
from ragstone.adapters.mongo import MongoAdapter, MongoDatabase, literal
from ragstone.adapters.mongo_jobs import HANGING, Turn
from ragstone.adapters.mongo_schema import Database, Document
from ragstone.domain.builds import Build
from ragstone.domain.collections import Collection, Lease
from ragstone.domain.commits import Commit, Tag
from ragstone.domain.errors import Conflict, LeaseLost, NotFound, Unavailable
from ragstone.domain.jobs import Job, JobResult, Progress
from ragstone.domain.retention import Keep, Pruning, Purge
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.catalog import AttemptState, KnownState

T = TypeVar("T")
_SERVER_CLOCK: Document = {"$divide": [{"$toLong": "$$NOW"}, 1000]}  # Unix seconds


class MongoCatalog(MongoAdapter):
    """Implements `Catalog`. `clock`: Unix seconds; None: the server's, as it has to be where there are several processes."""

    def __init__(self, mongo: MongoDatabase, dependency: Dependency, clock: Callable[[], float] | None = None) -> None:
        super().__init__(mongo, dependency)
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._in_doubt: set[str] = set()  # names of collections

    async def create_collection(self, name: str, language: str, description: str, space: EmbeddingSpace) -> Collection:
        uid = secrets.token_hex(6)
        update = mongo_jobs.collection_pipeline(name, language, description, space, self._now)

        async def work(db: Database) -> Document | None:
            try:
                return await db["collections"].find_one_and_update({"_id": uid}, update, upsert=True, return_document=ReturnDocument.AFTER)
            except DuplicateKeyError:
                return None

        row = await self._call(work)
        if row is None:
            raise Conflict(f"collection {name!r} exists already; choose another name.", field="name")
        return mongo_jobs.collection_of(row)

    async def collection(self, name: str) -> Collection:
        return mongo_jobs.collection_of(await self._call(lambda db: mongo_jobs.collection_row(db, name)))

    async def collections(self) -> list[Collection]:
        return await self._call(mongo_jobs.collections)

    async def delete_collection(self, name: str) -> Collection:
        deleted = await self._turn(name, mongo_jobs.delete_collection)
        await self._clear_deleted()
        return deleted

    async def add_space(self, collection: str, space: EmbeddingSpace) -> Collection:
        return await self._turn(collection, lambda turn: mongo_jobs.add_space(turn, space))

    async def begin_build(self, collection: str, build: Build) -> Collection:
        return await self._turn(collection, lambda turn: mongo_spaces.begin_build(turn, build))

    async def acquire_fill(self, collection: str, holder: str, ttl: float) -> Lease:
        return await self._turn(collection, lambda turn: mongo_spaces.acquire_fill(turn, holder, ttl))

    async def finish_fill(self, lease: Lease, build: Build) -> Collection:
        return await self._leased(lease, lambda turn: mongo_spaces.finish_fill(turn, lease, build))

    async def drop_space(self, collection: str, space_id: str, principal: str, keep: float | None = None) -> Collection:
        return await self._turn(collection, lambda turn: mongo_spaces.drop_space(turn, space_id, principal, keep))

    async def forget_space(self, collection: str, space_id: str) -> None:
        await self._turn(collection, lambda turn: mongo_spaces.forget_space(turn, space_id))

    async def accept(self, job: Job, *, idempotency_key: str | None = None, body_digest: str = "") -> Job:
        packed = await mongo_jobs.pack(codecs.REQUEST, job.request)
        return await self._turn(job.collection, lambda turn: mongo_jobs.accept(turn, job, packed, idempotency_key, body_digest))

    async def job(self, job_id: str) -> Job:
        await self._settle()
        return await self._call(lambda db: mongo_jobs.job(db, job_id))

    async def jobs(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[Job]:
        return await self._call(lambda db: mongo_jobs.jobs(db, collection, before, limit))

    async def pending(self, collection: str) -> int:
        return await self._call(lambda db: mongo_jobs.pending(db, collection))

    async def next_job(self, collection: str) -> Job | None:
        return await self._call(lambda db: mongo_jobs.next_job(db, collection))

    async def release(self, job_id: str) -> None:
        row = await self._call(lambda db: mongo_jobs.job_row(db, job_id))
        await self._turn(row["collection"], lambda turn: mongo_jobs.release(turn, job_id), row["uid"])

    async def requeue_orphans(self) -> list[Job]:
        await self._clear_deleted()
        for collection in await self.collections():
            await self._turn(collection.name, mongo_attempts.take_back, collection.uid)
        return await self._call(mongo_jobs.queued)

    async def orphans(self) -> list[Job]:
        await self._clear_deleted()
        return await self._call(lambda db: mongo_jobs.unattended(db, self._now))

    async def acquire(self, job_id: str, holder: str, ttl: float) -> Lease:
        row = await self._call(lambda db: mongo_jobs.job_row(db, job_id))
        return await self._turn(row["collection"], lambda turn: mongo_attempts.acquire(turn, job_id, holder, ttl), row["uid"])

    async def renew(self, lease: Lease) -> Lease:
        return await self._call(lambda db: mongo_attempts.renew(db, lease, self._now))

    async def abort(self, lease: Lease) -> None:
        with suppress(NotFound):  # the collection is gone, and its attempts with it
            await self._turn(lease.collection.name, lambda turn: mongo_attempts.abort(turn, lease), lease.collection.uid)

    async def attempt(self, collection: str, attempt: int) -> AttemptState:
        await self._settle()
        return await self._call(lambda db: mongo_attempts.attempt(db, collection, attempt))

    async def aborted(self, collection: str, *, gone_after: float = 0.0) -> list[int]:
        lost_before = {"$subtract": [self._now, gone_after]}
        return await self._call(lambda db: mongo_attempts.aborted(db, collection, lost_before))

    async def retire(self, collection: str, attempts: Sequence[int]) -> None:
        await self._turn(collection, lambda turn: mongo_attempts.retire(turn, attempts))

    async def finish_unchanged(self, lease: Lease, result: JobResult) -> None:
        await self._leased(lease, lambda turn: mongo_attempts.finish_unchanged(turn, lease, result))

    async def fail(self, lease: Lease, result: JobResult) -> None:
        await self._leased(lease, lambda turn: mongo_attempts.fail(turn, lease, result))

    async def publish(self, lease: Lease, commit: Commit, result: JobResult) -> Commit:
        return await self._leased(lease, lambda turn: mongo_attempts.publish(turn, lease, commit, result))

    async def head(self, collection: str) -> Commit | None:
        return await self._call(lambda db: mongo_commits.head(db, collection))

    async def commit(self, collection: str, commit_id: str) -> Commit:
        return await self._call(lambda db: mongo_commits.commit(db, collection, commit_id))

    async def commit_at_position(self, collection: str, position: int) -> Commit:
        return await self._call(lambda db: mongo_commits.commit_at_position(db, collection, position))

    async def commit_at_time(self, collection: str, time: float) -> Commit:
        return await self._call(lambda db: mongo_commits.commit_at_time(db, collection, time))

    async def commits(self, collection: str, *, before: int | None = None, limit: int = 50) -> list[Commit]:
        return await self._call(lambda db: mongo_commits.commits(db, collection, before, limit))

    async def commits_since(self, collection: str, seq: int, limit: int = 100) -> list[Commit]:
        return await self._call(lambda db: mongo_commits.commits_since(db, collection, seq, limit))

    async def tag(self, collection: str, name: str, commit_id: str) -> Tag:
        return await self._turn(collection, lambda turn: mongo_commits.tag(turn, collection, name, commit_id))

    async def untag(self, collection: str, name: str) -> None:
        await self._call(lambda db: mongo_commits.untag(db, collection, name))

    async def tags(self, collection: str) -> list[Tag]:
        return await self._call(lambda db: mongo_commits.tags(db, collection))

    async def gaps(self, collection: str) -> frozenset[int]:
        return await self._call(lambda db: mongo_attempts.gaps(db, collection))

    async def prune(self, collection: str, keep: Keep, *, dry_run: bool = False) -> Pruning:
        return await self._turn(collection, lambda turn: mongo_retention.prune(turn, keep, dry_run))

    async def begin_purge(self, purge: Purge) -> Purge:
        for job_id in await self._call(lambda db: mongo_retention.with_metadata(db, purge.collection, purge.path)):
            await self._turn(purge.collection, partial(mongo_retention.scrub, job_id=job_id, path=purge.path))
        return await self._turn(purge.collection, lambda turn: mongo_retention.begin_purge(turn, purge))

    async def finish_purge(self, purge: Purge) -> None:
        await self._call(lambda db: mongo_retention.finish_purge(db, purge))

    async def purges(self, collection: str, path: str | None = None) -> list[Purge]:
        return await self._call(lambda db: mongo_retention.purges(db, collection, path))

    async def compact(self) -> None:
        """Nothing: what was deleted is in no document any more; the server's log of operations and free blocks are its own to write over."""

    async def hold(self, lock: str, holder: str, ttl: float) -> bool:
        return await self._call(lambda db: mongo_locks.hold(db, lock, holder, ttl, self._now))

    async def let_go(self, lock: str, holder: str) -> None:
        await self._call(lambda db: mongo_locks.let_go(db, lock, holder))

    async def cursor(self, name: str) -> int:
        return await self._call(lambda db: mongo_locks.cursor(db, name))

    async def move_cursor(self, name: str, value: int) -> None:
        await self._call(lambda db: mongo_locks.move_cursor(db, name, value))

    async def report(self, job_id: str, progress: Progress) -> None:
        await self._call(lambda db: mongo_locks.report(db, job_id, progress))

    async def progress(self, job_id: str) -> Progress | None:
        return await self._call(lambda db: mongo_locks.progress(db, job_id))

    async def attempts(self, collection: str) -> dict[int, KnownState]:
        return await self._call(lambda db: mongo_attempts.attempts(db, collection))

    async def check(self) -> list[str]:
        return await self._call(mongo_checks.faults)

    async def close(self) -> None:
        """Nothing: whoever made the `MongoDatabase` closes it."""

    @property
    def _now(self) -> Document:
        return _SERVER_CLOCK if self._clock is None else literal(self._clock())

    async def _turn(self, name: str, work: Callable[[Turn], Awaitable[T]], uid: str | None = None) -> T:
        """`work` in a transaction that begins with a change of the collection's document, so that of two which overlap one starts over.

        Those of this process wait for each other instead. `uid`: it has to be this collection of the name. Raises `NotFound`.
        """
        wanted: Document = {"name": name} if uid is None else {"name": name, "_id": uid}
        touch = [{"$set": {"turn": {"$add": ["$turn", 1]}, "now": self._now}}]

        async def transaction(db: Database, session: AsyncClientSession) -> T:
            row = await db["collections"].find_one_and_update(wanted, touch, return_document=ReturnDocument.AFTER, session=session)
            if row is None:
                raise mongo_jobs.no_collection(name)
            return await work(Turn(db, session, row, row["now"]))

        async with self._turns.setdefault(name, asyncio.Lock()):
            try:
                return await self._transaction(transaction)
            except LeaseLost:
                raise
            except (Unavailable, asyncio.CancelledError):
                self._in_doubt.add(name)  # its commit may be on its way still
                raise

    async def _leased(self, lease: Lease, work: Callable[[Turn], Awaitable[T]]) -> T:
        """A turn of whoever holds a lease. Raises `LeaseLost` when the collection is gone."""
        try:
            return await self._turn(lease.collection.name, work, lease.collection.uid)
        except NotFound:
            raise mongo_attempts.lost() from None

    async def _settle(self) -> None:
        """After a transaction whose outcome is unknown: another one, over the same document, can only commit when that one is over. What is
        read then does not change any more."""
        for name in tuple(self._in_doubt):
            with suppress(NotFound):
                await self._turn(name, _nothing)
            self._in_doubt.discard(name)

    async def _clear_deleted(self) -> None:
        """Takes away what hangs on collections that were deleted, a part at a time."""
        gone = await self._call(lambda db: db["collections"].distinct("_id", {"name": {"$exists": False}}))
        for uid in gone:
            for place in HANGING:
                await self._delete_all(place, {"uid": uid})
            await self._delete_all("collections", {"_id": uid})


async def _nothing(turn: Turn) -> None:
    """A turn that changes nothing but the count of turns."""
