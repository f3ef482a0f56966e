"""What only a MongoDB server can get wrong: killed servers, lost and late messages, other schemas and servers; nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import gridfs
import pytest
from gridfs.errors import FileExists
from pymongo import MongoClient

from ragstone.adapters import mongo as adapter
from ragstone.adapters.mongo import MongoDatabase
from ragstone.adapters.mongo_catalog import MongoCatalog
from ragstone.adapters.mongo_interactions import MongoInteractionLog
from ragstone.adapters.mongo_schema import INDEXES, MIGRATIONS, migrate
from ragstone.adapters.mongo_staging import GridFsStaging
from ragstone.domain.documents import checksum
from ragstone.domain.errors import DataDirectoryError, InvalidInput, NotFound, RagstoneError, Unavailable
from ragstone.domain.interactions import InteractionFilter
from ragstone.domain.jobs import ChangeRequest, Put
from tests.contracts.catalog.records import BUILD, SPACE, job, publish, record
from tests.contracts.test_interaction_log import interaction
from tests.servers import mongo
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.packaged
SHORT = 1.5  # seconds that a call may take where it is meant to fail


@pytest.fixture
async def database(mongo_url: str) -> AsyncIterator[MongoDatabase]:
    async with mongo.database(mongo_url) as made:
        yield made


@pytest.fixture
async def proxy(mongo_url: str) -> AsyncIterator[Proxy]:
    async with Proxy.before(mongo_url) as made:
        yield made


@pytest.fixture
async def far(mongo_url: str, proxy: Proxy) -> AsyncIterator[MongoDatabase]:
    """A database behind the proxy."""
    async with mongo.database(proxy.url(mongo_url)) as made:
        yield made
        proxy.through()


@pytest.fixture
async def catalog(far: MongoDatabase) -> MongoCatalog:
    made = MongoCatalog(far, mongo.dependency(timeout=SHORT))
    await made.create_collection("docs", "english", "", SPACE)
    return made


class Server:
    """One of its own, to be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = mongo.free_port()
        self._running = ExitStack()
        self.start()

    def start(self) -> None:
        self.url, self._process = self._running.enter_context(mongo.serving(self._directory, self._port, durable=True))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._running.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


async def patiently(call: Any) -> Any:
    """What the call gives, once the server answers again."""
    while True:
        try:
            return await call()
        except Unavailable as error:
            await asyncio.sleep(min(error.retry_after or 0.1, 0.5))


async def test_bytes_that_were_written_once_more_are_staged_all_the_same(database: MongoDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    upload, names = gridfs.AsyncGridFSBucket.upload_from_stream_with_id, list[str]()

    async def twice(bucket: gridfs.AsyncGridFSBucket, name: str, *arguments: Any) -> None:
        names.append(name)
        if len(names) == 1:
            raise FileExists(f"file with _id {name!r} already exists")
        await upload(bucket, name, *arguments)

    monkeypatch.setattr(gridfs.AsyncGridFSBucket, "upload_from_stream_with_id", twice)
    staging = GridFsStaging(database, mongo.dependency())
    assert await staging.get("job-1", await staging.put("job-1", b"bytes")) == b"bytes"
    assert len({*names}) == 2


async def test_a_killed_server_loses_nothing_that_was_acknowledged(server: Server) -> None:
    acknowledged: list[str] = []
    published: dict[int, str] = {}
    staged: dict[str, str] = {}
    async with mongo.database(server.url, f"test-{uuid4().hex[:12]}") as database:
        catalog = MongoCatalog(database, mongo.dependency(timeout=SHORT))
        staging = GridFsStaging(database, mongo.dependency("staging", timeout=SHORT))
        await catalog.create_collection("docs", "english", "", SPACE)
        stop = asyncio.Event()

        async def work() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                new = job(number)
                try:
                    staged[new.id] = await staging.put(new.id, new.id.encode() * 1000)
                    await catalog.accept(new)
                    acknowledged.append(new.id)
                except Unavailable:  # nobody knows whether it is there
                    continue
                await run(new.id)

        async def run(job_id: str) -> None:
            next_job = await patiently(lambda: catalog.next_job("docs"))
            lease = await patiently(lambda: catalog.acquire(next_job.id, "worker", 30.0))
            while True:
                try:
                    commit = await publish(catalog, lease)
                except Unavailable:
                    state = await patiently(lambda: catalog.attempt("docs", lease.attempt))
                    if state == "active":
                        continue
                    assert state == "published"  # nobody else is there to abort it
                    commit = await patiently(lambda: catalog.commit("docs", record(lease)[0].id))
                published[lease.attempt] = commit.id
                return

        working = asyncio.create_task(work())
        for _ in range(4):
            goal = len(published) + 12
            while len(published) < goal:
                await asyncio.sleep(0.01)
                assert not working.done(), working.result()
            server.kill()
            await asyncio.to_thread(server.start)
        stop.set()
        await working

        while (left := await catalog.next_job("docs")) is not None:
            await publish(catalog, await catalog.acquire(left.id, "worker", 30.0))
        commits = await catalog.commits("docs", limit=10_000)
        assert len(acknowledged) >= 48
        assert {each.id for each in commits} >= set(published.values())
        assert [each.position for each in commits] == list(range(len(commits), 0, -1))
        assert [(await catalog.job(each)).state for each in acknowledged] == ["published"] * len(acknowledged)
        assert [checksum(await staging.get(each, staged[each])) for each in acknowledged] == [staged[each] for each in acknowledged]
        assert await catalog.check() == []


async def test_of_processes_that_race_one_gets_the_lease_and_one_the_lock(mongo_url: str) -> None:
    name = f"test-{uuid4().hex[:12]}"
    async with mongo.database(mongo_url, name) as database:
        catalog = MongoCatalog(database, mongo.dependency())
        await catalog.create_collection("docs", "english", "", SPACE)
        await catalog.accept(job(1))
        command = [sys.executable, "-m", "tests.servers.mongo_racer", mongo_url, name, "job-0001"]
        racers = [await asyncio.create_subprocess_exec(*command, f"holder-{number}", stdout=asyncio.subprocess.PIPE) for number in range(3)]
        told = [(await racer.communicate())[0].decode().split() for racer in racers]
        assert sorted(attempt for attempt, _ in told) == ["0", "0", "1"]
        assert sorted(lock for _, lock in told) == ["0", "0", "1"]
        assert await catalog.attempts("docs") == {1: "active"}
    mongo.drop(mongo_url, name)


async def test_when_the_reply_is_lost_the_attempt_tells_that_it_was_published(catalog: MongoCatalog, proxy: Proxy) -> None:
    await catalog.accept(job(1))
    lease = await catalog.acquire("job-0001", "h", 30.0)
    proxy.hold(b"commitTransaction")
    publishing = asyncio.create_task(publish(catalog, lease))
    await proxy.waiting.wait()
    proxy.drop_replies()
    proxy.release()
    with pytest.raises(Unavailable) as lost:
        await publishing
    assert lost.value.field == "catalog"
    assert lost.value.retry_after
    proxy.through()
    assert await patiently(lambda: catalog.attempt("docs", 1)) == "published"
    assert (await catalog.job("job-0001")).state == "published"


@pytest.mark.long  # until secantusdb ends the transaction: 60 s, which nothing shortens
async def test_what_is_said_of_a_job_stays_true_when_its_commit_arrives_late(catalog: MongoCatalog, proxy: Proxy) -> None:
    proxy.hold(b"commitTransaction")
    with pytest.raises(Unavailable):
        await catalog.accept(job(1))
    proxy.pass_on()
    with pytest.raises(NotFound):  # the client took its session for another transaction, which ended this one
        await patiently(lambda: catalog.job("job-0001"))
    proxy.release()
    assert (await catalog.accept(job(2))).number == 1
    with pytest.raises(NotFound):
        await catalog.job("job-0001")


@pytest.mark.parametrize("cancelled", [False, True])
async def test_nothing_is_said_of_a_job_whose_commit_is_on_its_way(catalog: MongoCatalog, proxy: Proxy, *, cancelled: bool) -> None:
    proxy.hold(b"commitTransaction")
    accepting = asyncio.create_task(catalog.accept(job(1)))
    await proxy.waiting.wait()
    if cancelled:
        accepting.cancel()
    else:
        proxy.break_off()  # so that the client drops its session too
    with pytest.raises(asyncio.CancelledError if cancelled else Unavailable):
        await accepting
    proxy.pass_on()
    asking = asyncio.create_task(patiently(lambda: catalog.job("job-0001")))
    done, _ = await asyncio.wait({asking}, timeout=1.0)
    assert not done
    proxy.release()
    assert (await asking).id == "job-0001"


async def test_what_never_arrived_is_not_there(catalog: MongoCatalog, proxy: Proxy) -> None:
    proxy.cut()
    with pytest.raises(Unavailable):
        await catalog.accept(job(1))
    proxy.through()
    with pytest.raises(NotFound):
        await patiently(lambda: catalog.job("job-0001"))
    assert (await catalog.accept(job(1))).number == 1


async def test_a_server_that_stalls_is_unavailable_in_time_and_then_back(catalog: MongoCatalog, proxy: Proxy) -> None:
    proxy.stall()
    begun = time.monotonic()
    for call in (catalog.head("docs"), catalog.hold("janitor", "h", 1.0), catalog.jobs("docs")):
        with pytest.raises(Unavailable):
            await call
    assert time.monotonic() - begun < 3 * SHORT + 2.0
    proxy.through()
    assert await patiently(lambda: catalog.head("docs")) is None


async def test_bytes_that_came_in_half_are_never_read(far: MongoDatabase, proxy: Proxy, mongo_url: str) -> None:
    staging = GridFsStaging(far, mongo.dependency("staging", timeout=SHORT))
    await staging.put("j1", b"whole")
    content = b"half" * 2**20
    proxy.hold(b"uploadDate")  # the last request of a put
    with pytest.raises(Unavailable):
        await staging.put("j2", content)
    proxy.cut()
    proxy.through()
    with pytest.raises(NotFound):
        await patiently(lambda: staging.get("j2", checksum(content)))
    assert await staging.jobs() == ["j1", "j2"]
    await staging.discard("j2")
    assert await staging.jobs() == ["j1"]
    await staging.discard("j1")
    name = (await far.ready()).name
    with MongoClient[dict[str, Any]](mongo_url) as client:
        assert client[name]["staging.chunks"].count_documents({}) == client[name]["staging.files"].count_documents({}) == 0


async def test_bytes_that_were_changed_are_not_handed_out(database: MongoDatabase) -> None:
    staging = GridFsStaging(database, mongo.dependency())
    digest = await staging.put("j1", b"abc")
    await (await database.ready())["staging.chunks"].update_one({}, {"$set": {"data": b"abd"}})
    with pytest.raises(RagstoneError, match="damaged"):
        await staging.get("j1", digest)


async def test_a_request_larger_than_a_document_comes_back(database: MongoDatabase) -> None:
    catalog = MongoCatalog(database, mongo.dependency())
    await catalog.create_collection("docs", "english", "", SPACE)
    puts = tuple(Put(f"p{n}", "text/plain", checksum(str(n).encode()), 1, {"x": uuid4().hex * 256}) for n in range(2500))
    large = ChangeRequest(puts)
    new = job(1)
    await catalog.accept(type(new)(new.id, "docs", 0, large, "ada", "queued", 0.0))
    assert (await catalog.job(new.id)).request == large
    await catalog.delete_collection("docs")
    assert await (await database.ready())["job_parts"].count_documents({}) == 0


async def test_the_clock_is_the_servers(database: MongoDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = MongoCatalog(database, mongo.dependency())
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    made = await catalog.create_collection("docs", "english", "", SPACE)
    await catalog.accept(job(1))
    lease = await catalog.acquire("job-0001", "h", 30.0)
    renewed = await catalog.renew(lease)
    commit = await publish(catalog, lease)
    for told in (made.created_at, lease.expires_at - 30.0, renewed.expires_at - 30.0, commit.created_at):
        assert abs(told - now) < 20.0


# Schemas and servers


async def test_many_processes_that_start_at_once_make_one_schema(mongo_url: str) -> None:
    name = f"test-{uuid4().hex[:12]}"
    databases = [MongoDatabase(lambda: mongo_url, name) for _ in range(4)]
    try:
        await asyncio.gather(*(database.ready() for database in databases))
        made = await databases[0].ready()
        schema = await made["schema"].find_one({"_id": "ragstone"})
        assert schema is not None
        assert schema["version"] == len(MIGRATIONS)
        assert set(await made.list_collection_names()) >= set(INDEXES)
        assert await MongoCatalog(databases[1], mongo.dependency()).check() == []
    finally:
        for database in databases:
            await mongo.close(database)
        mongo.drop(mongo_url, name)


async def test_an_older_schema_is_brought_up_to_date_and_a_newer_one_refused(database: MongoDatabase) -> None:
    made = await database.ready()
    run: list[int] = []

    async def later(database: Any) -> None:
        run.append(1)

    assert await migrate(made, (*MIGRATIONS, later)) == 1
    assert await migrate(made, (*MIGRATIONS, later)) == 0
    assert run == [1]
    with pytest.raises(DataDirectoryError, match="newer ragstone"):
        await migrate(made)


async def test_a_collection_of_before_builds_were_jobs_keeps_its_builds(database: MongoDatabase) -> None:
    catalog = MongoCatalog(database, mongo.dependency())
    await catalog.create_collection("docs", "english", "", SPACE)
    await catalog.begin_build("docs", BUILD)
    made = await database.ready()
    row = await made["collections"].find_one({"name": "docs"})
    assert row is not None
    builds = json.loads(row["builds"])
    del builds[0]["ended_at"]
    await made["collections"].update_one({"name": "docs"}, {"$set": {"builds": json.dumps(builds)}, "$unset": {"past_builds": ""}})
    known = await catalog.collection("docs")
    assert ([build.job_id for build in known.builds], known.past_builds) == ([BUILD.id], ())
    await catalog.drop_space("docs", BUILD.space.id, "ada")
    await catalog.forget_space("docs", BUILD.space.id)
    assert [build.id for build in (await catalog.collection("docs")).past_builds] == [BUILD.id]


async def test_a_missing_index_is_told_and_made_again(database: MongoDatabase) -> None:
    catalog = MongoCatalog(database, mongo.dependency())
    made = await database.ready()
    await made["commits"].drop_index("uid_1_seq_1")
    [fault] = await catalog.check()
    assert "commits" in fault
    await made["schema"].update_one({"_id": "ragstone"}, {"$set": {"version": 0}})
    await migrate(made)
    assert await catalog.check() == []


async def test_a_server_without_a_replica_set_is_refused(tmp_path: Path) -> None:
    with mongo.serving(tmp_path, alone=True) as (url, _):
        database = MongoDatabase(lambda: url, "ragstone")
        with pytest.raises(Unavailable, match="replica set"):
            await MongoCatalog(database, mongo.dependency()).collections()
        await mongo.close(database)


async def test_an_older_server_is_refused(mongo_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "OLDEST", 10_000)
    database = MongoDatabase(lambda: mongo_url, "ragstone")
    with pytest.raises(Unavailable, match="older than"):
        await MongoCatalog(database, mongo.dependency()).collections()
    await mongo.close(database)


async def test_a_uri_that_is_none_is_refused_without_telling_it() -> None:
    for uri in ("postgres://eve:secret@host/", "mongodb://eve:sec:ret@ho st:port/", "", "mongodb://h/?tls=secret"):
        with pytest.raises(InvalidInput) as refused:
            MongoDatabase(partial(str, uri), "ragstone")
        assert "sec" not in refused.value.message


async def test_a_uri_cannot_weaken_writes(mongo_url: str) -> None:
    weak = f"{mongo_url}&w=1&readPreference=secondary&retryWrites=false&readConcernLevel=local"
    async with mongo.database(weak) as database:
        made = await database.ready()
        assert (made.write_concern.document, made.read_concern.level) == ({"w": "majority", "j": True}, "majority")
        await MongoCatalog(database, mongo.dependency()).create_collection("docs", "english", "", SPACE)


# The interaction log


async def test_the_server_deletes_what_is_older_than_it_is_kept(database: MongoDatabase) -> None:
    async def expiry(keep_days: float | None) -> int | None:
        log = MongoInteractionLog(database, mongo.dependency("interactions"), keep_days)
        await log.append(interaction(int(time.monotonic_ns())))
        there = await (await database.ready())["interactions"].index_information()
        return there["expires"]["expireAfterSeconds"] if "expires" in there else None

    assert [await expiry(days) for days in (None, 30.0, 7.0, 7.0, None)] == [None, 2_592_000, 604_800, 604_800, None]


async def test_what_looks_like_an_operator_is_a_value(database: MongoDatabase) -> None:
    log = MongoInteractionLog(database, mongo.dependency("interactions"))
    catalog = MongoCatalog(database, mongo.dependency())
    await log.append(interaction(1, '{"$ne": ""}'))
    assert await log.page(InteractionFilter(collection="$where")) == []
    assert len(await log.page(InteractionFilter(collection='{"$ne": ""}'))) == 1
    made = await catalog.create_collection("$name", "$$NOW", "$description", SPACE)
    assert (made.name, made.language, made.description) == ("$name", "$$NOW", "$description")
    assert await catalog.hold("$lock", "$holder", 30.0)
    assert not await catalog.hold("$lock", "$$ROOT", 30.0)


@pytest.mark.parametrize("away", [False, True])
async def test_whoever_waits_may_be_cancelled_at_any_time_and_twice(far: MongoDatabase, proxy: Proxy, *, away: bool) -> None:
    """The client itself can't be: it would leave sockets open (a warning, which fails this test), or a lock taken that every later call waits for."""
    catalog = MongoCatalog(far, mongo.dependency(timeout=SHORT))
    if away:
        proxy.stall()
    else:
        await catalog.collections()
    for ticks in range(60):
        calls = [asyncio.create_task(catalog.collections()) for _ in range(5)]
        for _ in range(ticks):
            await asyncio.sleep(0)
        for _ in range(2):
            for call in calls:
                call.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*calls, return_exceptions=True)
        if not away:
            proxy.break_off()  # so that the next calls have to connect
    proxy.through()
    for _ in range(100):
        if await _answers(catalog):
            return
        await asyncio.sleep(0.1)
    pytest.fail("the client never came back")


async def _answers(catalog: MongoCatalog) -> bool:
    try:
        return await catalog.collections() == []
    except Unavailable:
        return False
