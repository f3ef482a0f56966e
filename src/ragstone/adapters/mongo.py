"""One MongoDB database: its client, what is checked before it is used, and the base of the adapters that keep something in it (ADR 0019).

An adapter derives from `MongoAdapter`, names its collections and their indexes in `mongo_schema.INDEXES`, and does everything within
`self._call` (one command, or several reads) or `self._transaction` (all or nothing):

    class MongoNotes(MongoAdapter):
        async def note(self, name: str) -> str:
            found = await self._call(lambda db: db["notes"].find_one({"_id": name}))

Values from outside go into filters as plain strings and numbers, and into aggregation expressions under `$literal` (`literal`).
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pymongo
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.mongo_schema import Database, Document, migrate
from ragstone.domain.errors import InvalidInput, Unavailable

T = TypeVar("T")
OLDEST = 17  # the wire version of MongoDB 6.0
_SNAPSHOT, _MAJORITY = ReadConcern("snapshot"), ReadConcern("majority")
_DURABLE = WriteConcern("majority", j=True)
_HELLO_TIMEOUT = 2.0  # seconds to connect, and between looks at the members
_BATCH = 1000  # documents
_IDLE = 300.0  # seconds that an unused connection is kept


class MongoDatabase:
    """A client and one database of it, with majority writes and reads whatever the URI says. Close it after the adapters that share it.

    Raises `InvalidInput` for a URI that is none. `pool`: connections at most. `source` is asked for the URI, again when the server refuses its
    credentials: a secret that was rotated is taken up without a restart.
    """

    def __init__(self, source: Callable[[], str], name: str, *, pool: int = 64) -> None:
        self._source = source
        self._name = name
        self._pool = pool
        self._uri = source()
        self._client = self._connect()
        self._ready = False
        self._opening = asyncio.Lock()
        self._work: set[asyncio.Task[Any]] = set()

    async def ready(self) -> Database:
        """The database, once its server was found fit and its schema is up to date; both are looked at until they were right once.

        Raises `Unavailable` for a server that is too old, runs alone or does not acknowledge majority writes, `DataDirectoryError` for a schema
        of a newer release, and what pymongo raises.
        """
        if not self._ready:
            async with self._opening:
                if not self._ready:
                    await self._check_server()
                    await migrate(self._database())
                    self._ready = True
        return self._database()

    async def take_up_new_credentials(self) -> None:
        """Connects anew when the URI has changed; to be called when the server refused it."""
        uri = self._source()
        if uri != self._uri:
            old, self._uri = self._client, uri
            self._client = self._connect()
            await old.close()

    async def to_end(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is never cancelled: it ends by itself, so bound it with `pymongo.timeout`. Who waits for it may be cancelled.

        pymongo 4.20 can't be: while it connects, it leaves the socket open; while it waits for a server, a second cancellation leaves the lock of
        its view of the servers taken for ever, and every later call waits for it.
        """
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # seen: asyncio would report an error that nobody waits for any more

    async def close(self) -> None:
        """Closes every connection, which ends what is still under way."""
        await self._client.close()
        while self._work:
            await asyncio.wait(self._work)

    def session(self, *, snapshot: bool = False) -> AsyncClientSession:
        """For one transaction, or with `snapshot` for reads of one moment (at most five minutes ago)."""
        return self._client.start_session(snapshot=snapshot)

    def _database(self) -> Database:
        return self._client.get_database(self._name, read_preference=ReadPreference.PRIMARY, read_concern=_MAJORITY, write_concern=_DURABLE)

    def _connect(self) -> AsyncMongoClient[Document]:
        milliseconds = int(_HELLO_TIMEOUT * 1000)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # an option that is wrong would be left out: `tls` too
                return AsyncMongoClient(
                    self._uri,
                    appname="ragstone",
                    maxPoolSize=self._pool,
                    maxIdleTimeMS=int(_IDLE * 1000),
                    connectTimeoutMS=milliseconds,
                    heartbeatFrequencyMS=milliseconds,
                    retryWrites=True,
                    retryReads=True,
                    tz_aware=True,
                    uuidRepresentation="standard",
                )
        except (ConfigurationError, InvalidURI, UserWarning, ValueError, TypeError):  # without their text, which may quote a password
            raise InvalidInput(
                "catalog.uri: it is no MongoDB URI; give one like mongodb://user:password@host:27017/?replicaSet=rs0.", field="catalog.uri"
            ) from None

    async def _check_server(self) -> None:
        hello = await self._client.admin.command("hello")
        if hello.get("maxWireVersion", 0) < OLDEST:
            raise Unavailable("MongoDB is older than 6.0; upgrade the server.", field="catalog")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise Unavailable(
                "MongoDB runs alone, without a replica set, and so has neither transactions nor majority writes; start it with --replSet and "
                "initiate the set (one member is enough).",
                field="catalog",
            )
        try:
            await self._database()["schema"].update_one({"_id": "writable"}, {"$currentDate": {"at": True}}, upsert=True)
        except PyMongoError as error:
            if getattr(error, "code", None) in _NO_MAJORITY:
                raise Unavailable(
                    "MongoDB does not acknowledge writes by a majority of its members; start the members that are missing.", field="catalog"
                ) from error
            raise


_NO_MAJORITY = frozenset({64, 79, 100})  # WriteConcernFailed, UnknownReplWriteConcern, UnsatisfiableWriteConcern
_CREDENTIALS = 18  # AuthenticationFailed


class MongoAdapter:
    """What adapters over one `MongoDatabase` have in common; each has the `Dependency` that its port belongs to."""

    def __init__(self, mongo: MongoDatabase, dependency: Dependency) -> None:
        self._mongo = mongo
        self._dependency = dependency

    async def _call(self, work: Callable[[Database], Awaitable[T]]) -> T:
        """What `work` does to the database. The driver repeats by itself what may be repeated, for as long as the call may take: reads, and
        single writes, which it numbers, so that the server does each once. Raises what `mongo_errors.translated` gives."""

        async def bounded(seconds: float) -> T:
            with pymongo.timeout(seconds):
                try:
                    return await work(await self._mongo.ready())
                except PyMongoError as error:
                    if getattr(error, "code", None) == _CREDENTIALS:
                        await self._mongo.take_up_new_credentials()
                    raise

        return await self._dependency.call(lambda seconds: self._mongo.to_end(bounded(seconds)), retry=False)

    async def _transaction(self, work: Callable[[Database, AsyncClientSession], Awaitable[T]]) -> T:
        """What `work` does, all or nothing, durable on a majority when this returns.

        `work` may run several times, until no other transaction wrote what it writes; so it must do nothing but read and write by the session,
        and it must write (with a change) each document on whose staying as it is it relies. The commit is repeated until the server says what
        became of it. Raises `Unavailable` when that is not known.
        """

        async def once(database: Database) -> T:
            async with self._mongo.session() as session:
                return await session.with_transaction(
                    lambda own: work(database, own), read_concern=_SNAPSHOT, write_concern=_DURABLE, read_preference=ReadPreference.PRIMARY
                )

        return await self._call(once)

    async def _delete_all(self, collection: str, wanted: Document) -> int:
        """Deletes documents a batch at a time, however many there are; returns how many. Not atomic: done again it goes on."""
        deleted = 0
        while batch := await self._call(lambda db: _delete_some(db, collection, wanted)):
            deleted += batch
        return deleted


async def _delete_some(db: Database, collection: str, wanted: Document) -> int:
    ids = [row["_id"] async for row in db[collection].find(wanted, {"_id": 1}).limit(_BATCH)]
    if ids:
        await db[collection].delete_many({"_id": {"$in": ids}})
    return len(ids)


def literal(value: Any) -> Document:
    """A value inside an aggregation expression or a pipeline update, never read as an expression itself."""
    return {"$literal": value}
