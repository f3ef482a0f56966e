"""The contract of `DocumentAcls`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ragstone.adapters.mongo_acls import MongoAcls
from ragstone.adapters.sqlite_acls import SqliteAcls
from ragstone.domain.access import DocumentAcl
from ragstone.ports.document_acls import DocumentAcls
from tests.fakes.document_acls import InMemoryAcls
from tests.servers import mongo

HR, LEGAL = frozenset({"hr"}), frozenset({"legal", "hr"})


@pytest.fixture(params=["sqlite", "mongo", "fake"])
async def acls(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DocumentAcls]:
    async with AsyncExitStack() as stack:
        made: DocumentAcls
        match request.param:
            case "sqlite":
                made = SqliteAcls(tmp_path / "ragstone.db")
            case "mongo":
                database = await stack.enter_async_context(mongo.database(request.getfixturevalue("mongo_url")))
                made = MongoAcls(database, mongo.dependency("acls"))
            case _:
                made = InMemoryAcls()
        yield made
        await made.close()


async def test_what_nothing_was_set_for_is_open(acls: DocumentAcls) -> None:
    assert await acls.version("c") == 0
    assert await acls.every("c") == (0, {})
    await acls.change("c", {"a.md": ()})
    assert await acls.version("c") == 0
    assert await acls.collections() == []


async def test_groups_are_set_changed_and_taken_away(acls: DocumentAcls) -> None:
    await acls.change("c", {"a.md": HR, "b.md": LEGAL})
    await acls.change("other", {"a.md": LEGAL})
    version, every = await acls.every("c")
    assert every == {"a.md": HR, "b.md": LEGAL}
    await acls.change("c", {"a.md": HR})
    assert await acls.version("c") == version  # nothing changed
    await acls.change("c", {"a.md": (), "b.md": HR})
    assert await acls.version("c") > version
    assert (await acls.every("c"))[1] == {"b.md": HR}
    assert (await acls.every("other"))[1] == {"a.md": LEGAL}


async def test_pages_are_in_order_of_path(acls: DocumentAcls) -> None:
    await acls.change("c", {f"{folder}/{n}.md": HR for folder in ("x", "x%", "y_", "ü") for n in range(3)})
    await acls.change("c", {"y_/9.md": HR})
    await acls.change("c", {"y_/9.md": ()})
    first = await acls.page("c", limit=5)
    assert first == [DocumentAcl(path, HR) for path in ("x%/0.md", "x%/1.md", "x%/2.md", "x/0.md", "x/1.md")]
    assert [one.path for one in await acls.page("c", after=first[-1].path, limit=50)] == [
        "x/2.md", "y_/0.md", "y_/1.md", "y_/2.md", "ü/0.md", "ü/1.md", "ü/2.md",
    ]  # fmt: skip
    assert [one.path for one in await acls.page("c", prefix="y_/", after="y_/0.md")] == ["y_/1.md", "y_/2.md"]


async def test_changes_are_unsettled_until_they_are_settled(acls: DocumentAcls) -> None:
    await acls.change("c", {"a.md": HR})
    await acls.change("c", {"b.md": HR})
    assert await acls.collections() == ["c"]
    waiting = await acls.unsettled("c")
    assert [(path, groups) for path, (groups, _) in waiting.items()] == [("a.md", HR), ("b.md", HR)]
    assert list(await acls.unsettled("c", limit=1)) == ["a.md"]
    await acls.change("c", {"a.md": ()})
    await acls.settle("c", "a.md", waiting["a.md"][1])  # of the change before: the newer one stays
    await acls.settle("c", "b.md", waiting["b.md"][1])
    left = await acls.unsettled("c")
    assert {path: groups for path, (groups, _) in left.items()} == {"a.md": frozenset()}
    await acls.settle("c", "a.md", left["a.md"][1])
    assert await acls.unsettled("c") == {}
    assert await acls.collections() == []
    assert (await acls.every("c"))[1] == {"b.md": HR}


async def test_a_collection_that_is_dropped_is_forgotten(acls: DocumentAcls) -> None:
    await acls.change("c", {"a.md": HR})
    await acls.drop("c")
    await acls.drop("c")
    assert (await acls.every("c"), await acls.collections()) == ((0, {}), [])
