"""Interaction log in SQLite: appends that wait at the same time share one transaction (ADR 0005)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from sqlite3 import Connection, Row

from ragstone.adapters import codecs, sqlite_interaction_facts
from ragstone.adapters.sqlite import SqliteDatabase
from ragstone.domain.errors import NotFound
from ragstone.domain.interactions import CitedChunk, Feedback, Interaction, InteractionFilter, Logged, without_document

_Entry = tuple[str, str, str]  # id, collection, body
_BATCH = 100  # entries of one statement; SQLite takes at least 999 values
_ROWS = 25  # that one transaction changes besides: some 6 ms, for which appends wait


class SqliteInteractionLog:
    """Implements `InteractionLog`. An appended interaction survives the process; of a power failure it may lose the last moments."""

    def __init__(self, path: Path) -> None:
        self._db = SqliteDatabase(path, synchronous="NORMAL")
        self._waiting: list[tuple[_Entry, asyncio.Future[None]]] = []
        self._writing: asyncio.Future[None] | None = None
        self._begun = self._ended = 0  # appends, those whose callers gave up included

    async def append(self, interaction: Interaction) -> Logged:
        entry = (interaction.id, interaction.collection, codecs.INTERACTION.dump(replace(interaction, feedback=())))
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        self._begun += 1
        if self._writing is None:
            self._write_waiting()
        await written
        return "stored"

    async def get(self, interaction_id: str) -> Interaction:
        return await self._db.read(lambda db: _get(db, interaction_id))

    async def add_feedback(self, interaction_id: str, feedback: Feedback) -> Interaction:
        def work(db: Connection) -> Interaction:
            number = _number(db, interaction_id)
            if number is None:
                raise _not_found(interaction_id)
            added = db.execute(
                "INSERT INTO feedback (interaction, body, thumb) VALUES (?, ?, ?)", (number, codecs.FEEDBACK.dump(feedback), feedback.thumb)
            )
            tags = [(tag, number, added.lastrowid) for tag in dict.fromkeys(feedback.tags)]
            db.executemany("INSERT INTO feedback_tags (tag, interaction, feedback) VALUES (?, ?, ?)", tags)
            return _get(db, interaction_id)

        return await self._db.write(work)

    async def page(self, filter: InteractionFilter, *, before: str | None = None, limit: int = 50) -> list[Interaction]:
        if filter != InteractionFilter(filter.collection):
            await self._learn_facts()
        return await self._db.read(lambda db: _page(db, filter, before, limit))

    async def cited(self, collection: str, paths: Collection[str]) -> list[CitedChunk]:
        await self._learn_facts()
        return await self._db.read(lambda db: sqlite_interaction_facts.cited(db, collection, paths))

    async def delete_before(self, time: float) -> int:
        await self._learn_facts()
        deleted = 0
        while batch := await self._db.write(lambda db: sqlite_interaction_facts.delete_before(db, time, _ROWS)):
            deleted += batch
        return deleted

    async def erase(self, collection: str, path: str) -> int:
        earlier = self._begun
        while self._writing is not None and self._ended < earlier:  # these began before, so they are to be changed too
            await asyncio.wait({self._writing})
            await asyncio.sleep(0)  # its callback may be still to come
        await self._learn_facts()
        changed = 0
        after: int | None = 0
        while after is not None:
            of_batch, after = await self._db.write(partial(_erase, collection=collection, path=path, after=after))
            changed += of_batch
        return changed

    async def deferred(self) -> int:
        return 0

    async def close(self) -> None:
        while self._writing is not None:
            await asyncio.wait({self._writing})
            await asyncio.sleep(0)  # its callback may be still to come
        await self._db.close()

    async def _learn_facts(self) -> None:
        """Brings the tables that other listings than the plain one read up to what is stored now."""
        until = await self._db.read(sqlite_interaction_facts.unknown)
        while until and await self._db.write(partial(sqlite_interaction_facts.learn, until=until, limit=_ROWS)):
            pass

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
        self._ended += len(batch)
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


def _page(db: Connection, wanted: InteractionFilter, before: str | None, limit: int) -> list[Interaction]:
    numbers, values = sqlite_interaction_facts.selection(wanted, None if before is None else _number(db, before) or 0, limit)
    rows = db.execute(f"SELECT number, body FROM interactions WHERE number IN ({numbers}) ORDER BY number DESC", values).fetchall()  # noqa: S608 - constants
    return [_interaction(db, row) for row in rows]


def _erase(db: Connection, collection: str, path: str, after: int) -> tuple[int, int | None]:
    """Changes one batch; returns how many were changed and the last number that was looked at, None when there was none."""
    rows = sqlite_interaction_facts.using(db, collection, path, after, _ROWS)
    changed = 0
    for row in rows:
        logged = codecs.INTERACTION.load(row["body"])
        blank = without_document(logged, path)
        if blank != logged:
            db.execute("UPDATE interactions SET body = ? WHERE number = ?", (codecs.INTERACTION.dump(blank), row["number"]))
            changed += 1
    return changed, rows[-1]["number"] if rows else None


def _interaction(db: Connection, row: Row) -> Interaction:
    feedback = db.execute("SELECT body FROM feedback WHERE interaction = ? ORDER BY number", (row["number"],))
    return replace(codecs.INTERACTION.load(row["body"]), feedback=tuple(codecs.FEEDBACK.load(each["body"]) for each in feedback))


def _not_found(interaction_id: str) -> NotFound:
    return NotFound(f"there is no interaction {interaction_id[:80]!r}.", field="interaction")
