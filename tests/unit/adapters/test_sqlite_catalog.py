"""The SQLite catalog against the plain-dict one, call by call, and what happens to its file."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ragstone.adapters import codecs
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_schema import MIGRATIONS
from ragstone.domain.builds import Build
from ragstone.domain.collections import Collection, Lease
from ragstone.domain.commits import Commit, CommitStats
from ragstone.domain.errors import DataDirectoryError, InvalidInput, RagstoneError, StorageFull, Unavailable
from ragstone.domain.jobs import ChangeRequest, Delete, Job, JobResult
from ragstone.domain.spaces import Bm25Settings, ChunkerSettings, EmbeddingSpace, ModelIdentity
from ragstone.ports.catalog import Catalog
from tests.fakes.catalog import InMemoryCatalog

SPACE = EmbeddingSpace(ModelIdentity("model", "r1", "d" * 64, 3, "mean", 256), ("text/1",), ChunkerSettings(), Bm25Settings())
NEW_SPACE = replace(SPACE, model=replace(SPACE.model, revision="r2"))
DONE = JobResult("unchanged", None, None, None)
NAMES = st.sampled_from(["a", "a", "b"])
BACK = st.sampled_from([0, 0, 0, 1, 2, 3])  # how far back among jobs or leases: the last ones matter most


def _without_uid(value: Any) -> Any:
    """Collections get random uids, and so do builds of spaces that had none: two catalogs agree but for them."""
    match value:
        case Collection():
            return replace(value, uid="", builds=tuple(replace(build, id="") for build in value.builds))
        case Lease():
            return replace(value, collection=_without_uid(value.collection))
        case list():
            return [_without_uid(each) for each in value]
        case _:
            return value


class Agreement(RuleBasedStateMachine):
    """Every call on both catalogs gives the same value or the same error."""

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.now = 1000.0
        self.sqlite = SqliteCatalog(Path(self.directory.name) / "ragstone.db", lambda: self.now)
        self.memory = InMemoryCatalog(lambda: self.now)
        self.jobs: list[str] = []
        self.leases: list[tuple[Lease, Lease]] = []
        for name in ("a", "b"):
            self.create(name)

    def create(self, name: str) -> None:
        self.both(lambda catalog: catalog.create_collection(name, "english", "", SPACE))

    def lease(self, back: int) -> tuple[Lease, Lease]:
        return self.leases[-1 - back % len(self.leases)]

    @property
    def job_leases(self) -> list[tuple[Lease, Lease]]:
        """Those of jobs; whoever fills a space has no job to end."""
        return [pair for pair in self.leases if pair[0].job_id in self.jobs]

    def job_lease(self, back: int) -> tuple[Lease, Lease]:
        return self.job_leases[-1 - back % len(self.job_leases)]

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.sqlite.close())
            self.runner.close()
            self.directory.cleanup()

    def both(self, call: Callable[[Catalog], Awaitable[Any]]) -> tuple[Any, Any]:
        return self.each(call, call)

    def each(self, first: Callable[[Catalog], Awaitable[Any]], second: Callable[[Catalog], Awaitable[Any]]) -> tuple[Any, Any]:
        one, two = self.runner.run(self._outcome(first(self.sqlite))), self.runner.run(self._outcome(second(self.memory)))
        assert _without_uid(one) == _without_uid(two)
        return one, two

    @staticmethod
    async def _outcome(call: Awaitable[Any]) -> Any:
        try:
            return await call
        except RagstoneError as error:
            return type(error), error.message, error.retry_after

    @rule(name=NAMES, key=st.sampled_from([None, "k"]), digest=st.sampled_from(["x", "y"]))
    def accept(self, name: str, key: str | None, digest: str) -> None:
        job = Job(f"j{len(self.jobs):04}", name, 0, ChangeRequest((Delete("x"),)), "ada", "queued", 0.0)
        self.both(lambda catalog: catalog.accept(job, idempotency_key=key, body_digest=digest))
        self.jobs.append(job.id)

    @precondition(lambda self: self.jobs)
    @rule(back=BACK, holder=st.sampled_from(["h", "i"]), ttl=st.sampled_from([1.0, 100.0]))
    def acquire(self, back: int, holder: str, ttl: float) -> None:
        self.acquire_job(self.jobs[-1 - back % len(self.jobs)], holder, ttl)

    @rule(name=NAMES, holder=st.sampled_from(["h", "i"]), ttl=st.sampled_from([1.0, 100.0]))
    def acquire_next(self, name: str, holder: str, ttl: float) -> None:
        job, _ = self.both(lambda catalog: catalog.next_job(name))
        if isinstance(job, Job):
            self.acquire_job(job.id, holder, ttl)

    def acquire_job(self, job: str, holder: str, ttl: float) -> None:
        leases = self.both(lambda catalog: catalog.acquire(job, holder, ttl))
        if isinstance(leases[0], Lease):
            self.leases.append(leases)

    @rule(seconds=st.sampled_from([-3.0, 0.5, 1.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.leases)
    @rule(back=BACK)
    def renew(self, back: int) -> None:
        pair = self.lease(back)
        self.each(lambda catalog: catalog.renew(pair[0]), lambda catalog: catalog.renew(pair[1]))

    @precondition(lambda self: self.leases)
    @rule(back=BACK)
    def abort(self, back: int) -> None:
        pair = self.lease(back)
        self.each(lambda catalog: catalog.abort(pair[0]), lambda catalog: catalog.abort(pair[1]))

    @precondition(lambda self: self.job_leases)
    @rule(back=BACK)
    def finish_unchanged(self, back: int) -> None:
        pair = self.job_lease(back)
        self.each(lambda catalog: catalog.finish_unchanged(pair[0], DONE), lambda catalog: catalog.finish_unchanged(pair[1], DONE))

    @precondition(lambda self: self.job_leases)
    @rule(back=BACK)
    def fail(self, back: int) -> None:
        pair = self.job_lease(back)
        failed = replace(DONE, outcome="failed")
        self.each(lambda catalog: catalog.fail(pair[0], failed), lambda catalog: catalog.fail(pair[1], failed))

    @precondition(lambda self: self.job_leases)
    @rule(back=BACK, digit=st.sampled_from("ab"), space=st.sampled_from(["s", "s", SPACE.id, NEW_SPACE.id]))
    def publish(self, back: int, digit: str, space: str = "s") -> None:
        pair = self.job_lease(back)

        def call(lease: Lease) -> Callable[[Catalog], Awaitable[Any]]:
            commit_id = f"{digit * 7}{lease.attempt:033x}"
            name = lease.collection.name
            commit = Commit(name, lease.attempt, 0, commit_id, lease.head_id, space, frozenset(), lease.job_id, "", "", 0, CommitStats())
            return lambda catalog: catalog.publish(lease, commit, JobResult("published", commit_id, lease.attempt, None))

        self.each(call(pair[0]), call(pair[1]))

    @rule(name=NAMES, later=st.booleans())
    def commit(self, name: str, later: bool) -> None:
        self.accept(name, None, "")
        self.acquire_next(name, "h", 100.0)
        if self.job_leases:
            self.publish(0, "a" if later else "b")

    @rule(name=NAMES, attempts=st.lists(st.integers(1, 6)))
    def retire(self, name: str, attempts: list[int]) -> None:
        self.both(lambda catalog: catalog.retire(name, attempts))

    @rule(name=NAMES, revision=st.sampled_from(["r1", "r2", "r3"]))
    def add_space(self, name: str, revision: str) -> None:
        space = replace(SPACE, model=replace(SPACE.model, revision=revision))
        self.both(lambda catalog: catalog.add_space(name, space))

    @rule(name=NAMES, build=st.sampled_from(["b1", "b2"]))
    def begin_build(self, name: str, build: str) -> None:
        self.both(lambda catalog: catalog.begin_build(name, Build(build, NEW_SPACE, "ada", "preparing")))
        self.both(lambda catalog: catalog.add_space(name, NEW_SPACE))

    @rule(name=NAMES, holder=st.sampled_from(["h", "i"]))
    def acquire_fill(self, name: str, holder: str) -> None:
        leases = self.both(lambda catalog: catalog.acquire_fill(name, holder, 1.0))
        if isinstance(leases[0], Lease):
            self.leases.append(leases)

    @precondition(lambda self: self.leases)
    @rule(back=BACK, build=st.sampled_from(["b1", "b2"]), ready=st.booleans())
    def finish_fill(self, back: int, build: str, ready: bool) -> None:
        pair = self.lease(back)
        done = Build(build, NEW_SPACE, "ada", "ready" if ready else "filling", after="p")
        self.each(lambda catalog: catalog.finish_fill(pair[0], done), lambda catalog: catalog.finish_fill(pair[1], done))

    @rule(name=NAMES, space=st.sampled_from([SPACE, NEW_SPACE]), keep=st.sampled_from([None, 0.0, 100.0]), forget=st.booleans())
    def drop_space(self, name: str, space: EmbeddingSpace, keep: float | None, forget: bool) -> None:
        self.both(lambda catalog: catalog.drop_space(name, space.id, "ada", keep))
        if forget:
            self.both(lambda catalog: catalog.forget_space(name, space.id))
        self.both(lambda catalog: catalog.collection(name))

    @rule(name=NAMES)
    def delete_and_create(self, name: str) -> None:
        self.both(lambda catalog: catalog.delete_collection(name))
        self.create(name)

    @rule()
    def requeue_orphans(self) -> None:
        self.both(lambda catalog: catalog.requeue_orphans())

    @precondition(lambda self: self.jobs)
    @rule(back=BACK)
    def release(self, back: int) -> None:
        job = self.jobs[-1 - back % len(self.jobs)]
        self.both(lambda catalog: catalog.release(job))
        self.both(lambda catalog: catalog.job(job))

    @rule(name=NAMES, tag=st.sampled_from(["v1", "v2"]), prefix=st.sampled_from(["a" * 7, "b" * 7, "c" * 7, "a"]))
    def tag(self, name: str, tag: str, prefix: str) -> None:
        self.both(lambda catalog: catalog.tag(name, tag, prefix))
        self.both(lambda catalog: catalog.tags(name))

    @rule(name=NAMES, tag=st.sampled_from(["v1", "v2"]))
    def untag(self, name: str, tag: str) -> None:
        self.both(lambda catalog: catalog.untag(name, tag))

    @rule(name=NAMES, number=st.integers(0, 6), before=st.none() | st.integers(0, 6))
    def read(self, name: str, number: int, before: int | None) -> None:
        self.both(lambda catalog: catalog.head(name))
        self.both(lambda catalog: catalog.commits(name, before=before, limit=3))
        self.both(lambda catalog: catalog.commit_at_position(name, number))
        self.both(lambda catalog: catalog.commit_at_time(name, self.now - number))
        self.both(lambda catalog: catalog.attempt(name, number))
        self.both(lambda catalog: catalog.aborted(name))
        self.both(lambda catalog: catalog.pending(name))
        self.both(lambda catalog: catalog.jobs(name, before=f"j{number:04}"))
        self.both(lambda catalog: catalog.jobs(limit=4))
        self.both(lambda catalog: catalog.next_job(name))


TestAgreement = Agreement.TestCase
TestAgreement.settings = settings(max_examples=25, stateful_step_count=40, deadline=None, phases=set(Phase) - {Phase.explain})


def job(job_id: str, message: str = "") -> Job:
    return Job(job_id, "docs", 0, ChangeRequest((Delete("x"),), message=message), "ada", "queued", 0.0)


async def opened(path: Path) -> SqliteCatalog:
    catalog = SqliteCatalog(path)
    await catalog.create_collection("docs", "english", "", SPACE)
    return catalog


async def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    catalog = await opened(tmp_path / "ragstone.db")
    accepted = await catalog.accept(job("j1"))
    await catalog.close()
    again = SqliteCatalog(tmp_path / "ragstone.db")
    assert await again.job("j1") == accepted
    await again.close()


async def test_a_full_disk_changes_nothing_and_is_said_so(tmp_path: Path) -> None:
    catalog = await opened(tmp_path / "ragstone.db")
    database = catalog._db

    def fill(db: sqlite3.Connection) -> None:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 2}")

    await database.write(fill)
    with pytest.raises(StorageFull):
        await catalog.accept(job("big", "x" * 100_000))
    assert await catalog.jobs("docs") == []
    assert (await catalog.accept(job("small"))).number == 1
    await catalog.close()


async def test_a_locked_database_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.adapters.sqlite._BUSY_SECONDS", 0.01)
    catalog = await opened(tmp_path / "ragstone.db")
    with closing(sqlite3.connect(tmp_path / "ragstone.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await catalog.accept(job("j1"))
        assert await catalog.jobs("docs") == []  # reads go on
    assert (await catalog.accept(job("j1"))).number == 1
    await catalog.close()


async def test_text_that_is_not_unicode_and_huge_numbers_are_refused(tmp_path: Path) -> None:
    catalog = await opened(tmp_path / "ragstone.db")
    with pytest.raises(InvalidInput):
        await catalog.accept(job("j1", "\ud83d"))
    with pytest.raises(InvalidInput):
        await catalog.collection("\ud83d")
    with pytest.raises(InvalidInput):
        await catalog.commit_at_position("docs", 10**30)
    assert await catalog.jobs("docs") == []
    await catalog.close()


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await (await opened(tmp_path / "ragstone.db")).close()
    with closing(sqlite3.connect(tmp_path / "ragstone.db")) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(DataDirectoryError, match="newer"):
        SqliteCatalog(tmp_path / "ragstone.db")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ragstone.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(DataDirectoryError, match="damaged"):
        SqliteCatalog(tmp_path / "ragstone.db")
    with pytest.raises(DataDirectoryError, match="opened"):
        SqliteCatalog(tmp_path / "absent" / "ragstone.db")


async def test_commits_of_the_catalog_are_synced_and_the_logs_are_not(tmp_path: Path) -> None:
    catalog = await opened(tmp_path / "ragstone.db")
    pragmas = await catalog._db.write(lambda db: [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "foreign_keys")])
    assert pragmas == [2, 1]  # FULL, on
    assert await catalog._db.read(lambda db: db.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"
    await catalog.close()


async def test_compaction_leaves_no_byte_of_what_was_deleted(tmp_path: Path) -> None:
    catalog = SqliteCatalog(tmp_path / "ragstone.db")
    await catalog.create_collection("docs", "english", "a canary bird", SPACE)
    await catalog.delete_collection("docs")
    assert _holds(tmp_path, b"canary")
    await catalog.compact()
    assert not _holds(tmp_path, b"canary")
    await catalog.close()


def _holds(directory: Path, text: bytes) -> bool:
    return any(text in file.read_bytes() for file in directory.iterdir())


async def test_a_broken_page_is_told_by_the_check(tmp_path: Path) -> None:
    path = tmp_path / "ragstone.db"
    catalog = SqliteCatalog(path)
    for number in range(200):
        await catalog.create_collection(f"c{number}", "english", "about " * 50, SPACE)
    await catalog.close()
    page = path.read_bytes().rindex(b"about about") // 4096 * 4096  # of rows, not of the schema
    with path.open("r+b") as file:
        file.seek(page)
        file.write(b"\xff" * 4096)
    catalog = SqliteCatalog(path)
    assert await catalog.check()
    await catalog.close()


async def test_a_database_of_before_there_were_builds_keeps_its_attempts(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ragstone.db", isolation_level=None)) as db:
        for migration in MIGRATIONS[:3]:
            for statement in migration:
                db.execute(statement)
        db.execute("PRAGMA user_version = 3")
        db.execute(
            "INSERT INTO collections (uid, name, language, description, created_at, spaces, spaces_version, space_id, job_count, attempt_count) "
            "VALUES ('u', 'docs', 'english', '', 0, ?, 1, ?, 1, 3)",
            (codecs.SPACES.dump((SPACE,)), SPACE.id),
        )
        db.execute(
            "INSERT INTO jobs (id, uid, number, principal, state, created_at, request, body_digest) VALUES ('j1', 'u', 1, 'ada', 'failed', 0, ?, '')",
            (codecs.REQUEST.dump(ChangeRequest((Delete("x"),))),),
        )
        rows = [(1, "published", 0, None), (2, "aborted", 1, None), (3, "aborted", 0, 5.0)]
        db.executemany("INSERT INTO attempts (uid, number, job_id, state, retired, lost_at) VALUES ('u', ?, 'j1', ?, ?, ?)", rows)
    catalog = SqliteCatalog(tmp_path / "ragstone.db")
    assert (await catalog.collection("docs")).builds == ()
    assert await catalog.attempts("docs") == {1: "published", 2: "retired", 3: "aborted"}
    assert (await catalog.aborted("docs"), await catalog.aborted("docs", gone_after=1e12)) == ([3], [])
    assert await catalog.check() == []
    await catalog.close()


async def test_a_database_of_before_builds_were_jobs_keeps_its_builds(tmp_path: Path) -> None:
    build = '{"id": "b1", "space": %s, "principal": "ada", "state": "ready", "started_at": 5.0, "after": "z", "documents": 3, "since": 2}'
    space = codecs.SPACES.dump((SPACE,))[1:-1]
    with closing(sqlite3.connect(tmp_path / "ragstone.db", isolation_level=None)) as db:
        for migration in MIGRATIONS[:4]:
            for statement in migration:
                db.execute(statement)
        db.execute("PRAGMA user_version = 4")
        db.execute(
            "INSERT INTO collections (uid, name, language, description, created_at, spaces, spaces_version, space_id, builds) "
            "VALUES ('u', 'docs', 'english', '', 0, '[]', 1, 's', ?)",
            (f"[{build % space}]",),
        )
    catalog = SqliteCatalog(tmp_path / "ragstone.db")
    known = await catalog.collection("docs")
    [found] = known.builds
    assert (found.id, found.state, found.documents, found.since, found.ended_at, found.job_id) == ("b1", "ready", 3, 2, None, None)
    assert known.past_builds == ()
    assert await catalog.check() == []
    await catalog.close()
