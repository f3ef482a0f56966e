"""lakeFS killed, and its answers lost or late: what was acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ragstone.adapters.lakefs import LakeFsVersionStore
from ragstone.adapters.lakefs_client import LakeFsClient, Record
from ragstone.domain.documents import StoredDocument
from ragstone.domain.errors import Unavailable
from tests.contracts.test_version_store import ABOUT, document
from tests.servers import lakefs
from tests.servers.lakefs import LakeFs, fresh_prefix
from tests.servers.nats import free_port
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.servers
REPO = "c0ffee"
SHORT = 1.5  # seconds that a call may take where its answer is meant to be lost
MERGE = b"/merge/main HTTP/1.1"
PATIENCE = 60.0  # seconds


class Far:
    """A version store behind a proxy, and a client that sees the server as it is."""

    def __init__(self, server: LakeFs, proxy: Proxy) -> None:
        prefix = fresh_prefix()
        self.proxy = proxy
        self.name = prefix + REPO
        self.store: LakeFsVersionStore = server.store(prefix=prefix, url=proxy.url(server.url), timeout=SHORT)
        self.near: LakeFsClient = server.client()

    async def stage(self, attempt: int, base: str | None, *puts: StoredDocument) -> str:
        commit = await self.store.stage(REPO, attempt, base, puts, [], **ABOUT)  # type: ignore[arg-type]
        assert commit is not None
        return commit

    async def held(self) -> None:
        """Until a request waits in the proxy."""
        async with asyncio.timeout(PATIENCE):
            await self.proxy.waiting.wait()

    async def moved(self, branch: str, tip: str | None) -> None:
        """Until the server has brought the branch on from `tip`, whatever the client knows of it."""
        async with asyncio.timeout(PATIENCE):
            while await self.near.tip(self.name, branch) == tip:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)

    async def log(self, ref: str) -> list[Record]:
        return await self.near.log(self.name, ref)


@pytest.fixture
async def far(lakefs_server: LakeFs) -> AsyncIterator[Far]:
    async with Proxy.before(lakefs_server.url) as proxy:
        made = Far(lakefs_server, proxy)
        await made.store.create(REPO)
        yield made
        proxy.through()
        await made.store.close()
        await made.near.close()


async def test_a_commit_whose_reply_is_lost_is_found_and_not_made_again(far: Far) -> None:
    first = await far.stage(1, None, document("a"))
    far.proxy.hold(b"/attempt-2/commits")
    staging = asyncio.create_task(far.stage(2, first, document("b")))
    await far.held()
    far.proxy.drop_replies()
    far.proxy.release()
    await far.moved("attempt-2", first)
    far.proxy.through()
    commit = await staging
    assert await far.near.tip(far.name, "attempt-2") == commit
    assert [record.id for record in await far.log("attempt-2")][:2] == [commit, first]


@pytest.mark.parametrize("restoring", [False, True])
async def test_a_commit_that_arrives_late_changes_nothing(far: Far, restoring: bool) -> None:
    first = await far.stage(1, None, document("a"))
    second = await far.stage(2, first, document("b"))
    far.proxy.hold(b"/attempt-3/commits")
    made = far.store.restore(REPO, 3, second, first, **ABOUT) if restoring else far.stage(3, second, document("c"))  # type: ignore[arg-type]
    working = asyncio.ensure_future(made)
    await far.held()
    far.proxy.pass_on()
    commit = await working
    assert commit is not None
    far.proxy.release()
    record = await far.near.record(far.name, commit)
    assert record.parents == (second,)
    await far.store.advance(REPO, commit, 3)
    assert await far.store.main(REPO) == commit
    assert await far.store.count(REPO, commit) == (1 if restoring else 3)
    assert [record.id for record in await far.log(commit)][:3] == [commit, second, first]


async def test_a_merge_whose_reply_is_lost_is_not_made_again(far: Far) -> None:
    first = await far.stage(1, None, document("a"))
    far.proxy.hold(MERGE)
    before = await far.near.tip(far.name, "main")
    advancing = asyncio.create_task(far.store.advance(REPO, first, 1))
    await far.held()
    far.proxy.drop_replies()
    far.proxy.release()
    await far.moved("main", before)
    far.proxy.through()
    await advancing
    assert await far.store.main(REPO) == first
    assert await far.store.attempts(REPO) == []
    assert len(await far.log("main")) == 2


async def test_a_merge_that_arrives_late_does_not_take_main_back(far: Far) -> None:
    first = await far.stage(1, None, document("a"))
    second = await far.stage(2, first, document("b"))
    far.proxy.hold(MERGE)
    late = asyncio.create_task(far.store.advance(REPO, first))
    await far.held()
    far.proxy.pass_on()
    await far.store.advance(REPO, second)
    await late
    far.proxy.release()
    await far.store.advance(REPO, first)
    assert await far.store.main(REPO) == second
    heads = [record.metadata.get("ragstone-head") for record in await far.log("main")]
    assert heads[0] == second


async def test_a_server_that_can_not_be_reached_is_unavailable_and_comes_back(far: Far) -> None:
    commit = await far.stage(1, None, document("a"))
    far.proxy.cut()
    with pytest.raises(Unavailable) as raised:
        await far.store.read(REPO, commit, "a")
    assert raised.value.field == "versions"
    assert raised.value.retry_after is not None
    far.proxy.through()
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                assert (await far.store.read(REPO, commit, "a")).content == b"Text."
                break
            except Unavailable as error:
                await asyncio.sleep(error.retry_after or 0.1)  # the circuit breaker's own pause


async def test_what_was_acknowledged_outlives_a_killed_server(tmp_path: Path) -> None:
    prefix, port = fresh_prefix(), free_port()
    many = [document(f"many/{i}", f"{i}") for i in range(150)]
    with ExitStack() as running:
        server = running.enter_context(lakefs.serving(tmp_path, port=port))
        store = server.store(prefix=prefix, timeout=5.0)
        await store.create(REPO)
        first = await store.stage(REPO, 1, None, [document("a")], [], **ABOUT)  # type: ignore[arg-type]
        assert first is not None
        await store.advance(REPO, first, 1)
        near = server.client()
        staging = asyncio.create_task(store.stage(REPO, 2, first, many, [], **ABOUT))  # type: ignore[arg-type]
        await _uploading(near, prefix + REPO)
        assert server.process is not None
        server.process.kill()
        with pytest.raises(Unavailable):
            await staging
        await store.close()
        await near.close()
    with lakefs.serving(tmp_path, port=port) as server:
        store = server.store(prefix=prefix)
        assert await store.main(REPO) == first
        assert await store.verify(REPO, [first]) == []
        again = await store.stage(REPO, 2, first, many, [], **ABOUT)  # type: ignore[arg-type]
        assert again is not None
        await store.advance(REPO, again, 2)
        assert await store.main(REPO) == again
        assert await store.count(REPO, again) == 151
        assert await store.verify(REPO, [first, again]) == []
        assert await store.attempts(REPO) == []
        await store.close()


async def _uploading(client: LakeFsClient, name: str) -> None:
    """Until the attempt is in the middle of its uploads."""
    async with asyncio.timeout(PATIENCE):
        while await client.tip(name, "attempt-2") is None or len(await client.listing(name, "attempt-2", "documents/many/")) < 10:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
