"""The spool before the interaction log: what it keeps when the log takes nothing, and when the process is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ragstone.adapters import codecs
from ragstone.adapters.redacting_log import RedactingInteractionLog
from ragstone.adapters.spool_file import SpoolFile
from ragstone.adapters.spooled_log import SpooledInteractionLog
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.domain.deadline import deadline, remaining
from ragstone.domain.errors import DataDirectoryError, InvalidInput, NotFound, RagstoneError, StorageFull, Unavailable
from ragstone.domain.interactions import PURGED, Interaction, InteractionFilter, Logged
from ragstone.domain.redaction import Redaction
from ragstone.domain.retention import Purge
from tests.fakes.interaction_log import InMemoryInteractionLog
from tests.support.interactions import interaction

LIMIT = 2**20


class Fickle(InMemoryInteractionLog):
    """Raises `error` for an append as long as there is one; with `hangs`, never answers."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.hangs = False
        self.asked = 0

    async def append(self, interaction: Interaction) -> Logged:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
        return await super().append(interaction)


class Clock:
    """Pauses that end when they are told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._go = asyncio.Event()
        self.pauses: list[float] = []

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.asked.set()
        await self._go.wait()
        self._go.clear()

    def go(self) -> None:
        self.asked.clear()
        self._go.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0)


async def emptied(log: SpooledInteractionLog) -> None:
    async with asyncio.timeout(60):
        while await log.deferred():  # noqa: ASYNC110 - the spool tells nobody
            await asyncio.sleep(0)


@pytest.mark.parametrize("error", [Unavailable("down"), StorageFull("full")])
async def test_what_the_log_does_not_take_is_deferred_and_handed_on_later(tmp_path: Path, error: RagstoneError) -> None:
    inner, clock = Fickle(error), Clock()
    log = SpooledInteractionLog(inner, tmp_path / "spool", LIMIT, pause=clock.pause)
    assert await log.append(interaction("a")) == "deferred"
    with pytest.raises(NotFound):
        await log.get("a")
    await clock.asked.wait()
    asked = inner.asked
    assert await log.append(interaction("b")) == "deferred"
    assert inner.asked == asked  # a log that is down is not asked for each question
    assert await log.deferred() == 2
    inner.error = None
    clock.go()
    await emptied(log)
    assert [await inner.get("a"), await inner.get("b")] == [interaction("a"), interaction("b")]
    assert await log.append(interaction("c")) == "stored"
    await log.close()


async def test_what_another_process_purged_while_it_waited_here_is_erased_when_it_is_handed_on(tmp_path: Path) -> None:
    inner, clock = Fickle(Unavailable("down")), Clock()
    purged = Purge("p", "docs", "people.md", 5, "bob", "", "done", 0.0)

    async def purges(collection: str) -> list[Purge]:
        if collection == "gone":
            raise NotFound("it was deleted.")
        return [purged]

    log = SpooledInteractionLog(inner, tmp_path, LIMIT, pause=clock.pause, purges=purges)
    for name, collection, seq in (("before", "docs", 5), ("after", "docs", 6), ("deleted", "gone", 5)):
        assert await log.append(interaction(name, collection=collection, seq=seq)) == "deferred"
    inner.error = None
    await clock.asked.wait()
    clock.go()
    async with asyncio.timeout(60):
        while await log.deferred():  # noqa: ASYNC110 - the spool tells nobody
            await asyncio.sleep(0)
    assert [(await log.get(name)).purged for name in ("before", "deleted")] == [True, False]
    await log.close()


async def test_a_log_that_takes_few_entries_at_a_time_gets_them_all(tmp_path: Path) -> None:
    class Slow(Fickle):
        """Hangs when it has more than five to do at a time."""

        now = 0

        async def append(self, interaction: Interaction) -> Logged:
            self.now += 1
            try:
                await asyncio.sleep(0)
                if self.now > 5:
                    await asyncio.Event().wait()
                return await super().append(interaction)
            finally:
                self.now -= 1

    log, released = Slow(Unavailable("down")), asyncio.Event()

    async def waiting(_: float) -> None:
        await released.wait()

    spooled = SpooledInteractionLog(log, tmp_path, LIMIT, patience=0.1, pause=waiting)
    for number in range(40):
        assert await spooled.append(interaction(f"i{number:02}")) == "deferred"
    log.error = None
    released.set()
    async with asyncio.timeout(60):
        while await spooled.deferred():  # noqa: ASYNC110 - the spool tells nobody
            await asyncio.sleep(0.01)
    assert len(await log.page(InteractionFilter(), limit=100)) == 40
    await spooled.close()


async def test_entries_are_handed_on_with_more_time_than_their_questions_had(tmp_path: Path) -> None:
    class Timed(Fickle):
        left: float | None = -1.0

        async def append(self, interaction: Interaction) -> Logged:
            self.left = remaining()
            return await super().append(interaction)

    log, clock = Timed(Unavailable("down")), Clock()
    spooled = SpooledInteractionLog(log, tmp_path, LIMIT, pause=clock.pause)
    with deadline(5):
        assert await spooled.append(interaction()) == "deferred"
        assert log.left is not None
    await clock.asked.wait()
    assert log.left is None
    await spooled.close()


async def test_a_log_that_does_not_answer_in_time_is_no_reason_to_wait(tmp_path: Path) -> None:
    inner, clock = Fickle(), Clock()
    inner.hangs = True
    log = SpooledInteractionLog(inner, tmp_path, LIMIT, patience=0.01, pause=clock.pause)
    assert await log.append(interaction("a")) == "deferred"
    await clock.asked.wait()
    inner.hangs = False
    clock.go()
    await emptied(log)
    assert await log.get("a") == interaction("a")
    await log.close()


async def test_other_errors_of_the_log_fail_the_question(tmp_path: Path) -> None:
    for error in (DataDirectoryError("damaged"), InvalidInput("not Unicode")):
        log = SpooledInteractionLog(Fickle(error), tmp_path, LIMIT)
        with pytest.raises(type(error)):
            await log.append(interaction("a"))
        assert await log.deferred() == 0
        await log.close()


async def test_a_full_spool_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    clock = Clock()
    size = len(codecs.INTERACTION.dump(interaction("a"))) + 1
    log = SpooledInteractionLog(Fickle(Unavailable("down")), tmp_path, 2 * size, pause=clock.pause)
    for name in "ab":
        assert await log.append(interaction(name)) == "deferred"
    with pytest.raises(Unavailable, match="spool is full"):
        await log.append(interaction("c"))
    results = await asyncio.gather(*(log.append(interaction(name)) for name in "de"), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert await log.deferred() == 2
    assert (tmp_path / "interactions.jsonl").stat().st_size == 2 * size
    await log.close()


async def test_the_next_process_hands_on_what_is_there_and_skips_a_half_line(tmp_path: Path) -> None:
    log = SpooledInteractionLog(Fickle(Unavailable("down")), tmp_path, LIMIT, pause=Clock().pause)
    await asyncio.gather(*(log.append(interaction(f"i{number}")) for number in range(250)))
    await log.close()
    file = tmp_path / "interactions.jsonl"
    whole = file.read_bytes()
    assert whole.count(b"\n") == 250
    file.write_bytes(whole + b"not JSON\n" + whole[:100])
    inner = Fickle()
    await inner.append(interaction("i3", question="as it was stored before the crash"))
    log = SpooledInteractionLog(inner, tmp_path, LIMIT)
    log.start()
    await emptied(log)
    await until(lambda: file.stat().st_size == 0)
    assert {one.id for one in await log.page(InteractionFilter(), limit=1000)} == {f"i{number}" for number in range(250)}
    assert (await log.get("i3")).question == "as it was stored before the crash"
    await log.close()


async def test_an_entry_that_comes_while_the_spool_is_being_emptied_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, clock = Fickle(Unavailable("down")), Clock()
    log = SpooledInteractionLog(inner, tmp_path, LIMIT, pause=clock.pause)
    await log.append(interaction("a"))
    await clock.asked.wait()
    late = [codecs.INTERACTION.dump(interaction("late")).encode()]
    read = SpoolFile.read

    def read_then_append(self: SpoolFile, offset: int, limit: int) -> tuple[list[bytes], int]:
        found = read(self, offset, limit)
        if not found[0] and late:
            self.append([late.pop()])
        return found

    monkeypatch.setattr(SpoolFile, "read", read_then_append)
    inner.error = None
    clock.go()
    await until(lambda: not late and (tmp_path / "interactions.jsonl").stat().st_size == 0)
    assert {one.id for one in await log.page(InteractionFilter())} == {"a", "late"}
    await log.close()


async def test_an_entry_that_the_log_refuses_does_not_block_the_others(tmp_path: Path) -> None:
    class Refusing(Fickle):
        async def append(self, interaction: Interaction) -> Logged:
            if self.error is None and interaction.id == "bad":
                raise InvalidInput("no")
            return await super().append(interaction)

    inner, clock = Refusing(Unavailable("down")), Clock()
    log = SpooledInteractionLog(inner, tmp_path, LIMIT, pause=clock.pause)
    for name in ("a", "bad", "b"):
        await log.append(interaction(name))
    await clock.asked.wait()
    inner.error = None
    clock.go()
    await emptied(log)
    assert {one.id for one in await log.page(InteractionFilter())} == {"a", "b"}
    await log.close()


async def test_erasing_reaches_what_is_deferred(tmp_path: Path) -> None:
    inner, clock = Fickle(Unavailable("down")), Clock()
    log = SpooledInteractionLog(inner, tmp_path, LIMIT, pause=clock.pause)
    for name, collection in (("a", "docs"), ("b", "other")):
        await log.append(interaction(name, collection=collection))
    await clock.asked.wait()
    assert await log.erase("docs", "people.md") == 1
    assert (tmp_path / "interactions.jsonl").read_bytes().count(b"Ada is the harbour master.") == 2  # of `other`: passage and quote
    inner.error = None
    clock.go()
    await emptied(log)
    assert ((await log.get("a")).answer["text"], (await log.get("a")).purged) == (PURGED, True)
    assert await log.get("b") == interaction("b", collection="other")
    await log.close()


async def test_erasing_waits_for_an_entry_that_is_on_its_way_into_the_spool(tmp_path: Path) -> None:
    inner, clock = Fickle(), Clock()
    inner.hangs = True
    log = SpooledInteractionLog(inner, tmp_path, LIMIT, patience=0.05, pause=clock.pause)
    appending = asyncio.create_task(log.append(interaction("a")))
    await until(lambda: inner.asked == 1)
    assert await log.erase("docs", "people.md") == 1
    assert await appending == "deferred"
    assert b"Ada" not in (tmp_path / "interactions.jsonl").read_bytes().replace(b"Who is Ada?", b"")
    await log.close()


async def test_the_spool_holds_only_what_redaction_leaves(tmp_path: Path) -> None:
    spooled = SpooledInteractionLog(Fickle(Unavailable("down")), tmp_path, LIMIT, pause=Clock().pause)
    log = RedactingInteractionLog(spooled, Redaction({"question": "drop", "answer": "drop", "passages": "drop", "metadata.owner": "drop"}))
    assert await log.append(interaction("a")) == "deferred"
    assert await log.deferred() == 1
    assert b"Ada" not in (tmp_path / "interactions.jsonl").read_bytes()
    await log.close()


async def test_a_locked_database_is_a_log_that_takes_nothing(tmp_path: Path) -> None:
    clock = Clock()
    log = SpooledInteractionLog(SqliteInteractionLog(tmp_path / "x.db"), tmp_path / "spool", LIMIT, patience=0.05, pause=clock.pause)
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await log.append(interaction("a")) == "deferred"
        await clock.asked.wait()
        assert await log.append(interaction("b")) == "deferred"
        other.execute("COMMIT")
    clock.go()
    await emptied(log)
    assert {one.id for one in await log.page(InteractionFilter())} == {"a", "b"}
    assert await log.append(interaction("c")) == "stored"
    await log.close()


DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from ragstone.adapters.spool_file import SpoolFile
from ragstone.adapters.spooled_log import SpooledInteractionLog
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.domain.errors import Unavailable
from tests.support.interactions import interaction

class Down(SqliteInteractionLog):
    down, kills = True, sys.argv[2]
    async def append(self, interaction):
        if self.down:
            raise Unavailable("down")
        if self.kills == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        logged = await super().append(interaction)
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    directory = Path(sys.argv[1])
    inner = Down(directory / "ragstone.db")
    async def pause(seconds):
        Down.down = False
    log = SpooledInteractionLog(inner, directory / "spool", 2**20, pause=pause)
    for name in ("a", "b", "c"):
        print(name, await log.append(interaction(name)), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_kill_between_spool_and_log_loses_and_doubles_nothing(tmp_path: Path, moment: str) -> None:
    """`before`: in the spool, not in the log. `after`: in the log, and in the spool still."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING, str(tmp_path), moment, stdout=asyncio.subprocess.PIPE, env=environment
    )
    said, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    acknowledged = {line.split()[0] for line in said.decode().splitlines()}
    assert acknowledged
    log = SpooledInteractionLog(SqliteInteractionLog(tmp_path / "ragstone.db"), tmp_path / "spool", LIMIT)
    log.start()
    await emptied(log)
    kept = [one.id for one in await log.page(InteractionFilter())]
    assert len(kept) == len(set(kept))
    assert acknowledged <= set(kept) <= {"a", "b", "c"}
    await log.close()
