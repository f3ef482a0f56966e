"""One SQLite database file behind a writer thread and reader threads, with its errors in ragstone's words (ADR 0005)."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, TypeVar

from ragstone.adapters.codecs import NOT_UNICODE
from ragstone.adapters.sqlite_schema import MIGRATIONS
from ragstone.domain.errors import DataDirectoryError, InternalError, InvalidInput, RagstoneError, StorageFull, Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_READERS = 2
_LOG_PAGES = 8000  # 32 MB
_LOG_TRIES = 3  # each waits as long as _BUSY_SECONDS for readers to end
_FAULTS = 20  # told of a damaged file
_BUSY_SECONDS = 10.0  # the other writer of the file (the interaction log) holds it for one fsync


class SqliteDatabase:
    """Runs functions over a connection: `write` one at a time in a transaction of their own, `read` in a snapshot.

    `synchronous` FULL: a committed transaction survives power loss. NORMAL: it survives the process, and power loss up to the last moments.
    """

    def __init__(self, path: Path, synchronous: Literal["FULL", "NORMAL"]) -> None:
        self._path = path
        self._synchronous = synchronous
        self._connections: list[sqlite3.Connection] = []
        self._local = threading.local()
        with translated(), closing(self._connect()) as connection:
            _migrate(connection)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sqlite-write")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-read")

    async def write(self, work: Work[T]) -> T:
        """What `work` returns, once its transaction is committed; on an error nothing was changed."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._transaction, "BEGIN IMMEDIATE", work)

    def start(self, statement: str, values: Sequence[str | int | float]) -> asyncio.Future[None]:
        """Begins one writing statement, a transaction of its own; done when it is committed. The cheapest way to write."""
        return asyncio.get_running_loop().run_in_executor(self._writer, self._statement, statement, values)

    async def read(self, work: Work[T]) -> T:
        """What `work` returns, run over one snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._transaction, "BEGIN", work)

    async def compact(self) -> None:
        """Rewrites the file, so that nothing deleted or overwritten is left in it or in its log. Raises `Unavailable` when others keep reading."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._compact)

    async def check(self) -> list[str]:
        """What SQLite finds wrong in the whole file, a sentence each; at most `_FAULTS`."""
        try:
            return await self.read(_faults)
        except DataDirectoryError as error:
            return [error.message]

    async def close(self) -> None:
        """Waits for what runs, then closes every connection."""
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        while self._connections:
            self._connections.pop().close()

    def _transaction(self, begin: str, work: Work[T]) -> T:
        with translated():
            connection = self._own_connection()
            connection.execute(begin)
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk may have rolled it back already
                    connection.execute("ROLLBACK")
                raise
            return result

    def _compact(self) -> None:
        with translated():
            connection = self._own_connection()
            connection.execute("VACUUM")
            for _ in range(_LOG_TRIES):
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    return
        raise Unavailable("the catalog's log could not be emptied while others read; try again.", retry_after=1.0)

    def _statement(self, statement: str, values: Sequence[str | int | float]) -> None:
        with translated():
            self._own_connection().execute(statement, values)

    def _own_connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            self._local.connection = self._connect()
            self._connections.append(self._local.connection)
        connection: sqlite3.Connection = self._local.connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        if self._synchronous == "NORMAL":  # a checkpoint syncs, and whoever is about to write waits for it: have it seldom
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


@contextmanager
def translated() -> Iterator[None]:
    """Turns SQLite's errors into ragstone's."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translation(error) from error
    except UnicodeEncodeError as error:
        raise InvalidInput(NOT_UNICODE) from error
    except OverflowError as error:
        raise InvalidInput("a number has more than 63 bits; use a smaller one.") from error


def _translation(error: sqlite3.Error) -> RagstoneError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code
    match code:
        case sqlite3.SQLITE_FULL:
            return StorageFull("no space is left for the catalog; free some and try again.")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DataDirectoryError("the catalog's database is damaged; restore the data directory from a backup.")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return DataDirectoryError("the catalog's database cannot be opened or written; check the data directory's rights.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable("the catalog is locked by another process; try again.", retry_after=1.0)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_NOMEM | sqlite3.SQLITE_INTERRUPT:
            return Unavailable(f"the catalog cannot be read or written ({error}); try again.")
        case _:
            return InternalError(f"the catalog refused a statement ({error}); please report it.")


def _faults(db: sqlite3.Connection) -> list[str]:
    pages = [row[0] for row in db.execute(f"PRAGMA integrity_check({_FAULTS})") if row[0] != "ok"]
    keys = [
        f"a row of {row['table']} belongs to one of {row['parent']} that is not there" for row in db.execute("PRAGMA foreign_key_check")
    ]
    return [*pages, *keys][:_FAULTS]


def _migrate(connection: sqlite3.Connection) -> None:
    """Brings the schema to the newest version; `user_version` counts the migrations that were run."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise DataDirectoryError("the catalog's database was made by a newer ragstone; upgrade ragstone.")
        for migration in MIGRATIONS[version:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
