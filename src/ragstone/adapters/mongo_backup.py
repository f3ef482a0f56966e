"""What ragstone keeps in MongoDB, written out as of one moment, and read back into an empty database (docs/backup.md)."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from ragstone.adapters import codecs
from ragstone.adapters.cluster_backup_stores import Known
from ragstone.adapters.mongo import MongoAdapter
from ragstone.adapters.mongo_commits import commit_of
from ragstone.adapters.mongo_errors import translated
from ragstone.adapters.mongo_jobs import collection_of, collections, pack
from ragstone.adapters.mongo_schema import INDEXES, MIGRATIONS, UP, Database, Document
from ragstone.domain.errors import Conflict, DataDirectoryError, Unavailable
from ragstone.domain.jobs import JobResult

VERSION = len(MIGRATIONS)  # of the schema, which a restore needs to be no newer than its own
_LEFT_OUT = frozenset(
    {"staging.files", "staging.chunks", "bulk_runs", "bulk_parts", "locks", "job_progress", "usage"}
)  # of this moment, or of jobs that are not in the backup
_LOGS = ("interactions", "audit")  # which only grow: they need not be of the same moment, and a long log would outlive the snapshot
_BATCH = 1000  # documents
_PIECE = 2**20  # bytes
_BATCH_BYTES = 16 * 2**20
_LONGEST = 32 * 2**20  # bytes of one document; MongoDB's own limit is 16 MiB
_NOT_IN_BACKUP = JobResult(
    "failed",
    None,
    None,
    None,
    error_code="not-in-backup",
    error="The job was not done when the backup was made; send it again.",
    status=503,
)


class MongoMoment:
    """The catalog of one moment, and the logs until now."""

    def __init__(self, database: Database, session: AsyncClientSession, collections: tuple[Known, ...]) -> None:
        self._database = database
        self._session = session
        self.collections = collections

    async def files(self) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """Name and content of each file, to be read in order."""
        for name in sorted(INDEXES.keys() - _LEFT_OUT - {*_LOGS}):
            yield name, _documents(self._database, name, self._session)
        for name in _LOGS:
            if name in INDEXES:
                yield name, _documents(self._database, name, None)


class MongoDump(MongoAdapter):
    """The database as files: BSON documents one after another, as `mongodump` writes them. The catalog is of one moment."""

    async def names(self) -> list[str]:
        """Of the collections that there are, in order."""
        return [one.name for one in await self._call(collections)]

    async def attempts(self) -> dict[str, int]:
        """By a collection's uid, how many attempts there have been."""
        rows = await self._call(lambda db: db["collections"].find({"name": {"$exists": True}}, {"attempt_count": 1}).to_list())
        return {row["_id"]: int(row["attempt_count"]) for row in rows}

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[MongoMoment]:
        """The catalog of now; what is read of it later is of now too. Raises `Unavailable`."""
        database = await self._call(_as_it_is)
        with _in_our_words():
            async with self._mongo.session(snapshot=True) as session:
                rows = await database["collections"].find({"name": {"$exists": True}}, session=session).sort("name", UP).to_list()
                yield MongoMoment(database, session, tuple(_known(row) for row in rows))

    async def ensure_empty(self) -> None:
        """Raises `Conflict` when the database holds a collection of documents."""
        names = await self.names()
        if names:
            raise Conflict(f"The database holds collections ({', '.join(names[:3])}); restore into an empty one.", field="catalog")

    async def load(self, name: str, content: AsyncIterable[bytes]) -> None:
        """Reads one file back, in place of what a restore that was cut short has left. Raises `DataDirectoryError` for one that is none of ours."""
        if name not in INDEXES or name in _LEFT_OUT:
            raise DataDirectoryError(f"The backup holds a file {name[:80]!r} that this release does not know; upgrade ragstone.")
        await self._delete_all(name, {})
        batch: list[RawBSONDocument] = []
        size = 0
        async for document in _split(content):
            batch.append(document)
            size += len(document.raw)
            if len(batch) == _BATCH or size >= _BATCH_BYTES:
                await self._insert(name, batch)
                batch, size = [], 0
        if batch:
            await self._insert(name, batch)

    async def finish(self) -> None:
        """Jobs that were not done have failed: their bytes are not in the backup. Nobody holds a lease. Their Idempotency-Keys are free."""
        result = await pack(codecs.RESULT, _NOT_IN_BACKUP)

        async def work(db: Database) -> None:
            await db["collections"].update_many({}, {"$set": {"active": None, "active_job": None, "holder": None, "expires_at": 0.0}})
            await db["attempts"].update_many({"state": "active"}, {"$set": {"state": "aborted", "lost_at": None}})
            await db["jobs"].update_many(
                {"open": True},
                [
                    {
                        "$set": {
                            "open": {"$literal": False},
                            "state": "failed",
                            "result": {"$literal": result},
                            "finished_at": "$created_at",
                        }
                    },
                    {"$unset": "key"},
                ],
            )

        await self._call(work)

    async def _insert(self, name: str, batch: list[RawBSONDocument]) -> None:
        await self._call(lambda db: db[name].insert_many(batch, ordered=False))


async def _as_it_is(database: Database) -> Database:
    return database


def _known(row: Document) -> Known:
    head = commit_of(row["head"]) if row["head"] is not None else None
    return Known(collection_of(row), head, int(row["attempt_count"]))


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise translated(error) or Unavailable("MongoDB: it does not answer; try again.", field="catalog") from error


async def _documents(database: Database, name: str, session: AsyncClientSession | None) -> AsyncIterator[bytes]:
    piece = bytearray()
    async for batch in database[name].find_raw_batches({}, batch_size=_BATCH, session=session):
        piece += cast(bytes, batch)  # the driver says documents, and gives their bytes
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


async def _split(content: AsyncIterable[bytes]) -> AsyncIterator[RawBSONDocument]:
    """Each document of a file. A document begins with its own length."""
    waiting = bytearray()
    async for piece in content:
        waiting += piece
        while len(waiting) >= 4:
            size = int.from_bytes(waiting[:4], "little")
            if not 5 <= size <= _LONGEST:
                raise _damaged()
            if len(waiting) < size:
                break
            try:
                document = RawBSONDocument(bytes(waiting[:size]))
            except bson.errors.BSONError as error:
                raise _damaged() from error
            del waiting[:size]
            yield document
    if waiting:
        raise _damaged()


def _damaged() -> DataDirectoryError:
    return DataDirectoryError("A file of the backup is damaged; take another backup.")
