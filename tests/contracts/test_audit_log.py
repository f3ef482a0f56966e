"""The contract of `AuditLog`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ragstone.adapters.mongo_audit import MongoAuditLog
from ragstone.adapters.spooled_audit import SpooledAuditLog
from ragstone.adapters.sqlite_audit import SqliteAuditLog
from ragstone.domain.audit import AuditEntry, AuditFilter
from ragstone.ports.audit_log import AuditLog
from tests.fakes.audit_log import InMemoryAuditLog
from tests.servers import mongo


def adapters(kind: str, directory: Path) -> AuditLog:
    match kind:
        case "sqlite":
            return SqliteAuditLog(directory / "ragstone.db")
        case "spooled":
            return SpooledAuditLog(SqliteAuditLog(directory / "ragstone.db"), directory / "spool", 2**20)
        case _:
            return InMemoryAuditLog()


@pytest.fixture(params=["sqlite", "spooled", "fake", pytest.param("mongo", marks=pytest.mark.packaged)])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AuditLog]:
    async with AsyncExitStack() as stack:
        made: AuditLog
        if request.param == "mongo":
            database = await stack.enter_async_context(mongo.database(request.getfixturevalue("mongo_url")))
            made = MongoAuditLog(database, mongo.dependency("audit"))
        else:
            made = adapters(request.param, tmp_path)
        yield made
        await made.close()


def entry(number: int, principal: str = "ann", collection: str = "docs") -> AuditEntry:
    return AuditEntry(f"id-{number}", float(number), principal, "POST /ingest", collection, 200, f"request-{number}")


async def test_entries_come_back_newest_first(log: AuditLog) -> None:
    written = [entry(n, "ann" if n % 2 else "bob", "docs" if n % 3 else "") for n in range(10)]
    for one in written:
        await log.append(one)
    await log.append(entry(3, "mallory"))  # the same id: nothing changes
    newest = written[::-1]
    assert await log.page(AuditFilter()) == newest
    first = await log.page(AuditFilter(), limit=4)
    assert first + await log.page(AuditFilter(), before=first[-1].id) == newest
    assert await log.page(AuditFilter(), before="unknown") == []
    assert await log.page(AuditFilter(principal="bob", collection="docs")) == [e for e in newest if e.principal == "bob" and e.collection]
    assert await log.page(AuditFilter(since=3.0, until=5.0)) == [written[4], written[3]]
    assert await log.page(AuditFilter(principal="bob"), before=written[4].id, limit=1) == [written[2]]
    assert await log.page(AuditFilter(principal='{"$ne": ""}')) == []
