"""Dead letters in SQLite: a table of `ragstone.db`, for a platform without a broker."""

from __future__ import annotations

from pathlib import Path

from ragstone.adapters import codecs
from ragstone.adapters.sqlite import SqliteDatabase
from ragstone.domain.access import no_dead_letter
from ragstone.domain.dead_letters import DeadLetter


class SqliteDeadLetters:
    """Implements `DeadLetters`."""

    def __init__(self, path: Path) -> None:
        self._db = SqliteDatabase(path, synchronous="FULL")

    async def put(self, letter: DeadLetter) -> None:
        values = (letter.job_id, letter.collection, codecs.DEAD_LETTER.dump(letter))
        await self._db.write(
            lambda db: db.execute("INSERT OR REPLACE INTO dead_letters (job_id, collection, body) VALUES (?, ?, ?)", values)
        )

    async def get(self, job_id: str) -> DeadLetter:
        row = await self._db.read(lambda db: db.execute("SELECT body FROM dead_letters WHERE job_id = ?", (job_id,)).fetchone())
        if row is None:
            raise no_dead_letter(job_id)
        return codecs.DEAD_LETTER.load(row["body"])

    async def page(self, collection: str | None = None, *, before: str | None = None, limit: int = 50) -> list[DeadLetter]:
        statement = (
            "SELECT body FROM dead_letters WHERE (:collection IS NULL OR collection = :collection) AND (:before IS NULL OR job_id < :before) "
            "ORDER BY job_id DESC LIMIT :limit"
        )
        values = {"collection": collection, "before": before, "limit": limit}
        rows = await self._db.read(lambda db: db.execute(statement, values).fetchall())
        return [codecs.DEAD_LETTER.load(row["body"]) for row in rows]

    async def remove(self, job_id: str) -> None:
        await self._db.write(lambda db: db.execute("DELETE FROM dead_letters WHERE job_id = ?", (job_id,)))

    async def jobs(self) -> frozenset[str]:
        rows = await self._db.read(lambda db: db.execute("SELECT job_id FROM dead_letters").fetchall())
        return frozenset(row["job_id"] for row in rows)

    async def close(self) -> None:
        await self._db.close()
