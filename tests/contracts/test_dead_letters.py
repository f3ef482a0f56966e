"""What every keeper of dead letters promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ragstone.adapters.nats_dead_letters import NatsDeadLetters
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_dead_letters import SqliteDeadLetters
from ragstone.domain.dead_letters import DeadLetter
from ragstone.domain.errors import NotFound
from ragstone.ports.dead_letters import DeadLetters
from tests.fakes.dead_letters import InMemoryDeadLetters
from tests.servers import nats

LETTER = DeadLetter("01a", "docs", "worker-lost", "It was begun 3 times: “nobody” came back.", 3, "host:1", 1_700_000_000.25)


@pytest.fixture(params=["memory", "sqlite", pytest.param("nats", marks=pytest.mark.packaged)])
async def letters(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DeadLetters]:
    match request.param:
        case "nats":
            names = nats.names()
            connection = nats.connection(request.getfixturevalue("nats_url"), names)
            yield NatsDeadLetters(connection, names)
            await connection.close()
        case "sqlite":
            await SqliteCatalog(tmp_path / "ragstone.db").close()  # makes the tables
            sqlite = SqliteDeadLetters(tmp_path / "ragstone.db")
            yield sqlite
            await sqlite.close()
        case _:
            yield InMemoryDeadLetters()


async def test_a_letter_comes_back_whole(letters: DeadLetters) -> None:
    await letters.put(LETTER)
    assert await letters.get("01a") == LETTER
    assert await letters.page() == [LETTER]
    assert await letters.jobs() == {"01a"}


async def test_a_job_has_one_letter_the_last(letters: DeadLetters) -> None:
    await letters.put(LETTER)
    later = replace(LETTER, tries=4, created_at=1_700_000_001.0)
    await letters.put(later)
    assert await letters.page() == [later]


async def test_letters_are_listed_latest_job_first_by_collection_and_by_page(letters: DeadLetters) -> None:
    for number in range(5):
        await letters.put(replace(LETTER, job_id=f"01{number}", collection="docs" if number % 2 else "notes-2"))
    assert [one.job_id for one in await letters.page()] == ["014", "013", "012", "011", "010"]
    assert [one.job_id for one in await letters.page("docs")] == ["013", "011"]
    assert [one.job_id for one in await letters.page(before="013", limit=2)] == ["012", "011"]
    assert await letters.page("doc") == []


async def test_a_removed_letter_is_gone_and_removing_it_again_is_fine(letters: DeadLetters) -> None:
    await letters.put(LETTER)
    await letters.put(replace(LETTER, job_id="01b"))
    for _ in range(2):
        await letters.remove("01a")
    with pytest.raises(NotFound):
        await letters.get("01a")
    assert await letters.jobs() == {"01b"}


@pytest.mark.parametrize("job", ["01a", "*", "a.b", ">", "", "x" * 200, "naïve job"])
async def test_what_is_no_letter_is_not_found(letters: DeadLetters, job: str) -> None:
    await letters.put(replace(LETTER, job_id="01b"))
    with pytest.raises(NotFound):
        await letters.get(job)
    await letters.remove(job)
    assert await letters.jobs() == {"01b"}
