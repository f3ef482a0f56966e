"""What listings of interactions look up: tables beside the log, filled before they are read, so that an append costs nothing more.

Their rows are made from the logged JSON, in order of `number`, which never falls: what is newer than the newest row is not known yet.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from sqlite3 import Connection, Row

from ragstone.domain.interactions import CitedChunk, InteractionFilter

_PARTS = """INSERT INTO interaction_passages (path, collection, number, chunk, cited)
    SELECT json_extract(part.value, '$.path'), collection, number, coalesce(json_extract(part.value, '$.chunk_id'), ''), {cited}
    FROM interactions, json_each(body, '{place}') AS part
    WHERE number > :after AND number <= :until AND json_extract(part.value, '$.path') IS NOT NULL
    ON CONFLICT DO UPDATE SET cited = max(cited, excluded.cited)"""
_LEARN = (
    """INSERT INTO interaction_facts (number, collection, created_at, abstained, commit_id, release_id)
        SELECT number, collection, json_extract(body, '$.created_at'), coalesce(json_extract(body, '$.answer.abstained'), 0),
            json_extract(body, '$.commit_id'), json_extract(body, '$.release_id')
        FROM interactions WHERE number > :after AND number <= :until""",
    _PARTS.format(cited=0, place="$.passages"),
    _PARTS.format(cited=1, place="$.answer.citations"),
)


def unknown(db: Connection) -> int:
    """The number of the newest interaction if it is not known yet, else 0."""
    newest, known = db.execute("SELECT (SELECT max(number) FROM interactions), (SELECT max(number) FROM interaction_facts)").fetchone()
    return int(newest) if newest is not None and newest > (known or 0) else 0


def learn(db: Connection, until: int, limit: int) -> bool:
    """Fills the tables for at most `limit` further interactions; whether there are more up to `until`."""
    after = db.execute("SELECT coalesce(max(number), 0) FROM interaction_facts").fetchone()[0]
    numbers = db.execute(
        "SELECT number FROM interactions WHERE number > ? AND number <= ? ORDER BY number LIMIT ?", (after, until, limit)
    ).fetchall()
    if not numbers:
        return False
    for statement in _LEARN:
        db.execute(statement, {"after": after, "until": numbers[-1]["number"]})
    return bool(numbers[-1]["number"] < until)


def selection(wanted: InteractionFilter, before: int | None, limit: int) -> tuple[str, list[str | int | float]]:
    """A query for the numbers of these interactions, newest first, with its values.

    A plus keeps SQLite from an index: what is rare is to be looked up, and what is not to be walked in the order of numbers, so that a page
    costs what lies between its ends.
    """
    facts: list[tuple[str, str | int | float | None]] = [
        ("+created_at >= ?", wanted.since),
        ("+created_at < ?", wanted.until),
        ("abstained = ?", wanted.abstained),
        ("commit_id = ?", wanted.commit_id),
        ("release_id = ?", wanted.release_id),
    ]
    others: list[tuple[str, str | int | float | None]] = [
        ("number IN (SELECT interaction FROM feedback WHERE thumb = ?)", wanted.thumb),
        ("number IN (SELECT interaction FROM feedback_tags WHERE tag = ?)", wanted.tag),
        ("number IN (SELECT number FROM interaction_passages WHERE path = ?)", wanted.path),
        (
            "number IN (SELECT number FROM interaction_passages WHERE cited AND chunk IN (SELECT value FROM json_each(?)))",
            None if wanted.chunks is None else json.dumps(sorted(wanted.chunks)),
        ),
    ]
    by_fact, given = _given(facts), _given([*facts, *others])
    table = "interaction_facts" if by_fact else "interactions"
    several = None if wanted.collections is None else json.dumps(sorted(wanted.collections))
    given += _given([("+collection = ?" if given else "collection = ?", wanted.collection), ("number < ?", before)])
    given += _given([("+collection IN (SELECT value FROM json_each(?))", several)])
    where = " AND ".join(condition for condition, _ in given) or "1"
    return f"SELECT number FROM {table} WHERE {where} ORDER BY number DESC LIMIT ?", [*(value for _, value in given), limit]  # noqa: S608 - constants


def _given(conditions: Iterable[tuple[str, str | int | float | None]]) -> list[tuple[str, str | int | float]]:
    return [(condition, value) for condition, value in conditions if value is not None]


def cited(db: Connection, collection: str, paths: Collection[str]) -> list[CitedChunk]:
    """See `InteractionLog.cited`."""
    rows = db.execute(
        "SELECT DISTINCT path, chunk FROM interaction_passages WHERE collection = ? AND cited AND path IN (SELECT value FROM json_each(?))"
        " ORDER BY path, chunk",
        (collection, json.dumps(sorted(paths))),
    )
    return [CitedChunk(row["path"], row["chunk"]) for row in rows]


def using(db: Connection, collection: str, path: str, after: int, limit: int) -> list[Row]:
    """Interactions with a passage of the document, by rising number."""
    return db.execute(
        "SELECT number, body FROM interactions WHERE number > ? AND number IN"
        " (SELECT number FROM interaction_passages WHERE path = ? AND collection = ? AND number > ?) ORDER BY number LIMIT ?",
        (after, path, collection, after, limit),
    ).fetchall()


def delete_before(db: Connection, time: float, limit: int) -> int:
    """Deletes at most `limit` older interactions; what hangs on them goes along."""
    return db.execute(
        "DELETE FROM interactions WHERE number IN (SELECT number FROM interaction_facts WHERE created_at < ? LIMIT ?)", (time, limit)
    ).rowcount
