"""Interaction log in SQLite: appends that wait at the same time share one transaction (ADR 0005)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from sqlite3 import Connection, Row

from ragstone.adapters import codecs
from ragstone.adapters.sqlite import SqliteDatabase
from ragstone.domain.errors import NotFound
from ragstone.domain.interactions import Feedback, Interaction

_Entry = tuple[str, str, str]  # id, collection, body
_BATCH = 100  # entries of one statement; SQLite takes at least 999 values


class SqliteInteractionLog:
    """Implements `InteractionLog`. An appended interaction survives the process; of a power failure it may lose the last moments."""

    def __init__(self, path: Path) -> None:
        self._db = SqliteDatabase(path, synchronous="NORMAL")
        self._waiting: list[tuple[_Entry, asyncio.Future[None]]] = []
        self._writing: asyncio.Future[None] | None = None

    async def append(self, interaction: Interaction) -> None:
        entry = (interaction.id, interaction.collection, codecs.INTERACTION.dump(replace(interaction, feedback=())))
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        if self._writing is None:
            self._write_waiting()
        await written

    async def get(self, interaction_id: str) -> Interaction:
        return await self._db.read(lambda db: _get(db, interaction_id))

    async def add_feedback(self, interaction_id: str, feedback: Feedback) -> Interaction:
        def work(db: Connection) -> Interaction:
            number = _number(db, interaction_id)
            if number is None:
                raise _not_found(interaction_id)
            db.execute("INSERT INTO feedback (interaction, body) VALUES (?, ?)", (number, codecs.FEEDBACK.dump(feedback)))
            return _get(db, interaction_id)

        return await self._db.write(work)

    async def recent(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[Interaction]:
        return await self._db.read(lambda db: _recent(db, collection, before, limit))

    async def close(self) -> None:
        while self._writing is not None:
            await asyncio.wait({self._writing})
            await asyncio.sleep(0)  # its callback may be still to come
        await self._db.close()

    def _write_waiting(self) -> None:
        """Writes what waits. Callbacks instead of a task: this is a large part of what a question costs."""
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        rows = ", ".join(["(?, ?, ?)"] * len(batch))
        # One statement, however many rows: each one more would have the writer's thread and the event loop wait for each other again.
        statement = f"INSERT INTO interactions (id, collection, body) VALUES {rows} ON CONFLICT (id) DO NOTHING"  # noqa: S608 - constants
        self._writing = self._db.start(statement, [value for entry, _ in batch for value in entry])
        self._writing.add_done_callback(partial(self._written, [written for _, written in batch]))

    def _written(self, batch: list[asyncio.Future[None]], writing: asyncio.Future[None]) -> None:
        error = writing.exception()
        for written in batch:
            if written.done():  # its caller was cancelled
                continue
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(error)
        self._writing = None
        if self._waiting:  # it came meanwhile
            self._write_waiting()


def _number(db: Connection, interaction_id: str) -> int | None:
    row = db.execute("SELECT number FROM interactions WHERE id = ?", (interaction_id,)).fetchone()
    return None if row is None else row["number"]


def _get(db: Connection, interaction_id: str) -> Interaction:
    row = db.execute("SELECT * FROM interactions WHERE id = ?", (interaction_id,)).fetchone()
    if row is None:
        raise _not_found(interaction_id)
    return _interaction(db, row)


def _recent(db: Connection, collection: str | None, before: str | None, limit: int) -> list[Interaction]:
    conditions = ["1"]
    values: list[str | int] = []
    if collection is not None:
        conditions.append("collection = ?")
        values.append(collection)
    if before is not None:
        conditions.append("number < ?")
        values.append(_number(db, before) or 0)
    where = " AND ".join(conditions)
    rows = db.execute(f"SELECT * FROM interactions WHERE {where} ORDER BY number DESC LIMIT ?", (*values, limit)).fetchall()  # noqa: S608 - constants
    return [_interaction(db, row) for row in rows]


def _interaction(db: Connection, row: Row) -> Interaction:
    feedback = db.execute("SELECT body FROM feedback WHERE interaction = ? ORDER BY number", (row["number"],))
    return replace(codecs.INTERACTION.load(row["body"]), feedback=tuple(codecs.FEEDBACK.load(each["body"]) for each in feedback))


def _not_found(interaction_id: str) -> NotFound:
    return NotFound(f"there is no interaction {interaction_id[:80]!r}.", field="interaction")
