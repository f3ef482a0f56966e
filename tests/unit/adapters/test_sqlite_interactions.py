"""The interaction log in SQLite: databases of before, and how its listings are looked up."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ragstone.adapters import codecs, sqlite_interactions
from ragstone.adapters.sqlite_interaction_facts import selection
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.adapters.sqlite_schema import MIGRATIONS
from ragstone.domain.interactions import CitedChunk, Feedback, InteractionFilter
from tests.support.interactions import interaction


async def ids(log: SqliteInteractionLog, wanted: InteractionFilter) -> list[str]:
    return [one.id for one in await log.page(wanted)]


async def test_interactions_and_feedback_of_an_older_database_are_found(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ragstone.db")) as database:
        for statement in MIGRATIONS[0]:
            database.execute(statement)
        for number in range(60):
            body = codecs.INTERACTION.dump(interaction(f"i{number}", created_at=float(number)))
            body = body.replace(',"redacted":{},"purged":false', "")  # fields that did not exist then
            assert "purged" not in body
            database.execute("INSERT INTO interactions (id, collection, body) VALUES (?, 'docs', ?)", (f"i{number}", body))
        said = codecs.FEEDBACK.dump(Feedback(thumb=-1, tags=("wrong", "late", "wrong")))
        database.execute("INSERT INTO feedback (interaction, body) SELECT number, ? FROM interactions WHERE id = 'i7'", (said,))
        database.execute("PRAGMA user_version = 1")
        database.commit()
    log = SqliteInteractionLog(tmp_path / "ragstone.db")
    assert await log.get("i7") == interaction("i7", created_at=7.0, feedback=(Feedback(thumb=-1, tags=("wrong", "late", "wrong")),))
    assert await ids(log, InteractionFilter(thumb=-1)) == await ids(log, InteractionFilter(tag="wrong")) == ["i7"]
    assert await ids(log, InteractionFilter("docs", path="people.md", until=3.0)) == ["i2", "i1", "i0"]
    assert await log.cited("docs", ["people.md"]) == [CitedChunk("people.md", "c1")]
    assert await log.delete_before(50.0) == 50
    assert len(await ids(log, InteractionFilter(abstained=False))) == 10
    await log.close()


EVERY = InteractionFilter("docs", 1.0, 2.0, True, 1, "x", "c", "r", "p", frozenset({"k"}), frozenset({"docs"}))
ONE_EACH = [InteractionFilter(**{name: getattr(EVERY, name)}) for name in InteractionFilter.__dataclass_fields__] + [
    InteractionFilter("docs", **{name: getattr(EVERY, name)}) for name in InteractionFilter.__dataclass_fields__ if name != "collection"
]


@pytest.mark.parametrize("wanted", [InteractionFilter(), *ONE_EACH], ids=repr)
@pytest.mark.parametrize("before", [None, 10])
def test_no_listing_reads_or_sorts_more_than_it_gives(wanted: InteractionFilter, before: int | None) -> None:
    """Walking by number is fine where it ends with the page: all interactions, one collection's, several's, and those of a time."""
    with closing(sqlite3.connect(":memory:")) as database:
        for migration in MIGRATIONS:
            for statement in migration:
                database.execute(statement)
        numbers, values = selection(wanted, before, 50)
        plan = [row[3] for row in database.execute("EXPLAIN QUERY PLAN " + numbers, values)]
    assert not any("TEMP B-TREE" in step for step in plan), plan
    walks = {"SCAN interactions", "SCAN interaction_facts", "SEARCH interactions USING INTEGER PRIMARY KEY (rowid<?)"}
    by_time_alone = wanted in (
        InteractionFilter(wanted.collection, wanted.since, wanted.until, collections=wanted.collections),
        InteractionFilter(),
    )
    assert by_time_alone or not walks & set(plan), plan


async def test_erasing_waits_for_what_was_asked_to_be_stored_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its caller still waits or has given up."""
    monkeypatch.setattr(sqlite_interactions, "_BATCH", 1)
    log = SqliteInteractionLog(tmp_path / "ragstone.db")
    appending = [asyncio.create_task(log.append(interaction(f"i{number}"))) for number in range(5)]
    await asyncio.sleep(0)
    appending[4].cancel()
    assert await log.erase("docs", "people.md") == 5
    await asyncio.gather(*appending, return_exceptions=True)
    assert all(one.purged for one in await log.page(InteractionFilter()))
    await log.close()
