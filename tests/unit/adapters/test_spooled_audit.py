"""The spool of the audit log: nothing is lost while the log is down, in whichever way, and the order stays."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ragstone.adapters.spooled_audit import SpooledAuditLog
from ragstone.domain.audit import AuditEntry, AuditFilter
from ragstone.domain.errors import StorageFull, Unavailable
from tests.fakes.audit_log import InMemoryAuditLog


def entry(number: int) -> AuditEntry:
    return AuditEntry(f"id-{number}", float(number), "ann", "POST /ingest", "docs", 200, f"request-{number}")


class Log(InMemoryAuditLog):
    """Takes nothing while it is `down`; hangs when told to. `asked` once something was refused."""

    down = hangs = False

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def append(self, entry: AuditEntry) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            self.asked.set()
            raise Unavailable("down")
        await super().append(entry)


class Pause:
    """Lasts until the test says so."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        await self.over.wait()


async def drained(spool: Path) -> None:
    async with asyncio.timeout(60):
        while (spool / "audit.jsonl").stat().st_size:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("hangs", [False, True])
async def test_entries_wait_in_their_order_until_the_log_is_back(tmp_path: Path, hangs: bool) -> None:
    log, pause = Log(), Pause()
    spooled = SpooledAuditLog(log, tmp_path, 2**20, patience=0.05, pause=pause)
    await spooled.append(entry(0))
    log.down, log.hangs = not hangs, hangs
    for number in range(1, 5):
        await spooled.append(entry(number))
    log.down = log.hangs = False
    await spooled.append(entry(5))  # behind those that wait
    assert list(log.entries) == ["id-0"]
    pause.over.set()
    await drained(tmp_path)
    assert list(log.entries.values()) == [entry(number) for number in range(6)]
    await spooled.append(entry(6))
    await drained(tmp_path)  # the spool may not have noticed yet that it is empty
    assert [one.id for one in await spooled.page(AuditFilter(), limit=2)] == ["id-6", "id-5"]
    await spooled.close()


async def test_a_killed_process_leaves_its_entries_to_the_next(tmp_path: Path) -> None:
    log = Log()
    log.down = True
    first = SpooledAuditLog(log, tmp_path, 2**20)
    await first.append(entry(1))
    await first.close()
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(b"damaged\n" + b'{"cut off')
    log.down = False
    second = SpooledAuditLog(log, tmp_path, 2**20)
    second.start()
    await drained(tmp_path)
    assert list(log.entries.values()) == [entry(1)]
    await second.close()


async def test_a_full_spool_and_a_broken_disk_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    log.down = True
    spooled = SpooledAuditLog(log, tmp_path, 200, pause=Pause())
    await spooled.append(entry(1))
    with pytest.raises(Unavailable, match="full"):
        await spooled.append(entry(2))
    await spooled.close()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    spooled = SpooledAuditLog(log, tmp_path / "other", 2**20)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(StorageFull):
            await spooled.append(entry(3))
    await spooled.append(entry(3))
    await spooled.close()
