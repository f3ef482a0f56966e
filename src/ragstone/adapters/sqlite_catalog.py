"""Catalog in SQLite: each call is one transaction of `ragstone.db` (ADR 0005). The statements are in `sqlite_jobs`, `sqlite_attempts`,
`sqlite_commits`, `sqlite_spaces` and `sqlite_retention`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ragstone.adapters import sqlite_attempts, sqlite_commits, sqlite_jobs, sqlite_locks, sqlite_retention, sqlite_spaces
from ragstone.adapters.sqlite import SqliteDatabase
from ragstone.domain.builds import Build
from ragstone.domain.collections import Collection, Lease
from ragstone.domain.commits import Commit, Tag
from ragstone.domain.jobs import Job, JobResult, Progress
from ragstone.domain.retention import Keep, Pruning, Purge
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.catalog import AttemptState, KnownState


class SqliteCatalog:
    """Implements `Catalog`. `clock`: Unix seconds. Raises `DataDirectoryError` for a database of a newer version or a damaged one."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._db = SqliteDatabase(path, synchronous="FULL")
        self._clock = clock

    async def create_collection(self, name: str, language: str, description: str, space: EmbeddingSpace) -> Collection:
        return await self._db.write(lambda db: sqlite_jobs.create_collection(db, name, language, description, space, self._clock()))

    async def collection(self, name: str) -> Collection:
        return await self._db.read(lambda db: sqlite_jobs.collection(db, name))

    async def collections(self) -> list[Collection]:
        return await self._db.read(sqlite_jobs.collections)

    async def delete_collection(self, name: str) -> Collection:
        return await self._db.write(lambda db: sqlite_jobs.delete_collection(db, name))

    async def add_space(self, collection: str, space: EmbeddingSpace) -> Collection:
        return await self._db.write(lambda db: sqlite_jobs.add_space(db, collection, space))

    async def begin_build(self, collection: str, build: Build) -> Collection:
        return await self._db.write(lambda db: sqlite_spaces.begin_build(db, collection, build, self._clock()))

    async def acquire_fill(self, collection: str, holder: str, ttl: float) -> Lease:
        return await self._db.write(lambda db: sqlite_spaces.acquire_fill(db, collection, holder, ttl, self._clock()))

    async def finish_fill(self, lease: Lease, build: Build) -> Collection:
        return await self._db.write(lambda db: sqlite_spaces.finish_fill(db, lease, build, self._clock()))

    async def drop_space(self, collection: str, space_id: str, principal: str, keep: float | None = None) -> Collection:
        return await self._db.write(lambda db: sqlite_spaces.drop_space(db, collection, space_id, principal, keep, self._clock()))

    async def forget_space(self, collection: str, space_id: str) -> None:
        await self._db.write(lambda db: sqlite_spaces.forget_space(db, collection, space_id))

    async def accept(self, job: Job, *, idempotency_key: str | None = None, body_digest: str = "") -> Job:
        return await self._db.write(lambda db: sqlite_jobs.accept(db, job, idempotency_key, body_digest, self._clock()))

    async def job(self, job_id: str) -> Job:
        return await self._db.read(lambda db: sqlite_jobs.job(db, job_id))

    async def jobs(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[Job]:
        return await self._db.read(lambda db: sqlite_jobs.jobs(db, collection, before, limit))

    async def pending(self, collection: str) -> int:
        return await self._db.read(lambda db: sqlite_jobs.pending(db, collection))

    async def next_job(self, collection: str) -> Job | None:
        return await self._db.read(lambda db: sqlite_jobs.next_job(db, collection))

    async def release(self, job_id: str) -> None:
        await self._db.write(lambda db: sqlite_jobs.release(db, job_id))

    async def requeue_orphans(self) -> list[Job]:
        return await self._db.write(lambda db: sqlite_jobs.requeue_orphans(db, self._clock()))

    async def orphans(self) -> list[Job]:
        return await self._db.read(lambda db: sqlite_jobs.orphans(db, self._clock()))

    async def report(self, job_id: str, progress: Progress) -> None:
        await self._db.write(lambda db: sqlite_jobs.report(db, job_id, progress))

    async def progress(self, job_id: str) -> Progress | None:
        return await self._db.read(lambda db: sqlite_jobs.progress(db, job_id))

    async def acquire(self, job_id: str, holder: str, ttl: float) -> Lease:
        return await self._db.write(lambda db: sqlite_attempts.acquire(db, job_id, holder, ttl, self._clock()))

    async def renew(self, lease: Lease) -> Lease:
        return await self._db.write(lambda db: sqlite_attempts.renew(db, lease, self._clock()))

    async def abort(self, lease: Lease) -> None:
        await self._db.write(lambda db: sqlite_attempts.abort(db, lease))

    async def attempt(self, collection: str, attempt: int) -> AttemptState:
        return await self._db.read(lambda db: sqlite_attempts.attempt(db, collection, attempt))

    async def aborted(self, collection: str, *, gone_after: float = 0.0) -> list[int]:
        return await self._db.read(lambda db: sqlite_attempts.aborted(db, collection, self._clock() - gone_after))

    async def retire(self, collection: str, attempts: Sequence[int]) -> None:
        await self._db.write(lambda db: sqlite_attempts.retire(db, collection, attempts))

    async def finish_unchanged(self, lease: Lease, result: JobResult) -> None:
        await self._db.write(lambda db: sqlite_attempts.finish_unchanged(db, lease, result, self._clock()))

    async def fail(self, lease: Lease, result: JobResult) -> None:
        await self._db.write(lambda db: sqlite_attempts.fail(db, lease, result, self._clock()))

    async def publish(self, lease: Lease, commit: Commit, result: JobResult) -> Commit:
        return await self._db.write(lambda db: sqlite_attempts.publish(db, lease, commit, result, self._clock()))

    async def head(self, collection: str) -> Commit | None:
        return await self._db.read(lambda db: sqlite_commits.head(db, collection))

    async def commit(self, collection: str, commit_id: str) -> Commit:
        return await self._db.read(lambda db: sqlite_commits.commit(db, collection, commit_id))

    async def commit_at_position(self, collection: str, position: int) -> Commit:
        return await self._db.read(lambda db: sqlite_commits.commit_at_position(db, collection, position))

    async def commit_at_time(self, collection: str, time: float) -> Commit:
        return await self._db.read(lambda db: sqlite_commits.commit_at_time(db, collection, time))

    async def commits(self, collection: str, *, before: int | None = None, limit: int = 50) -> list[Commit]:
        return await self._db.read(lambda db: sqlite_commits.commits(db, collection, before, limit))

    async def commits_since(self, collection: str, seq: int, limit: int = 100) -> list[Commit]:
        return await self._db.read(lambda db: sqlite_commits.commits_since(db, collection, seq, limit))

    async def tag(self, collection: str, name: str, commit_id: str) -> Tag:
        return await self._db.write(lambda db: sqlite_commits.tag(db, collection, name, commit_id, self._clock()))

    async def untag(self, collection: str, name: str) -> None:
        await self._db.write(lambda db: sqlite_commits.untag(db, collection, name))

    async def tags(self, collection: str) -> list[Tag]:
        return await self._db.read(lambda db: sqlite_commits.tags(db, collection))

    async def hold(self, lock: str, holder: str, ttl: float) -> bool:
        return await self._db.write(lambda db: sqlite_locks.hold(db, lock, holder, ttl, self._clock()))

    async def let_go(self, lock: str, holder: str) -> None:
        await self._db.write(lambda db: sqlite_locks.let_go(db, lock, holder))

    async def cursor(self, name: str) -> int:
        return await self._db.read(lambda db: sqlite_locks.cursor(db, name))

    async def move_cursor(self, name: str, value: int) -> None:
        await self._db.write(lambda db: sqlite_locks.move_cursor(db, name, value))

    async def gaps(self, collection: str) -> frozenset[int]:
        return await self._db.read(lambda db: sqlite_attempts.gaps(db, collection))

    async def prune(self, collection: str, keep: Keep, *, dry_run: bool = False) -> Pruning:
        return await self._db.write(lambda db: sqlite_retention.prune(db, collection, keep, dry_run, self._clock()))

    async def begin_purge(self, purge: Purge) -> Purge:
        return await self._db.write(lambda db: sqlite_retention.begin_purge(db, purge))

    async def finish_purge(self, purge: Purge) -> None:
        await self._db.write(lambda db: sqlite_retention.finish_purge(db, purge))

    async def purges(self, collection: str, path: str | None = None) -> list[Purge]:
        return await self._db.read(lambda db: sqlite_retention.purges(db, collection, path))

    async def compact(self) -> None:
        await self._db.compact()

    async def attempts(self, collection: str) -> dict[int, KnownState]:
        return await self._db.read(lambda db: sqlite_attempts.attempts(db, collection))

    async def check(self) -> list[str]:
        return await self._db.check()

    async def close(self) -> None:
        await self._db.close()
