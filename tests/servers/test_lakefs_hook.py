"""The documented action on a real lakeFS: people commit to the inbox, lakeFS signs and tells, ragstone ingests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ragstone.adapters.lakefs import LakeFsVersionStore
from ragstone.adapters.lakefs_client import LakeFsClient
from ragstone.domain.commits import Commit
from ragstone.domain.jobs import Delete
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from ragstone.use_cases.answer import Answering
from ragstone.use_cases.answerability import Calibrations
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Platform, assemble
from ragstone.use_cases.prompts import Prompts
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.platform import fake_platform
from tests.servers.lakefs import LakeFs, fresh_prefix, serving
from tests.support.server import running

pytestmark = pytest.mark.servers
SECRET = "0123456789abcdef-of-a-test"
DOCS = (Path(__file__).parents[2] / "docs" / "lakefs.md").read_text("utf-8")
ACTION = DOCS.partition("```yaml\n")[2].partition("```")[0]
KEY = "_lakefs_actions/ragstone.yaml"


@dataclass
class Bench:
    """A platform whose versions are in lakeFS, one collection, and a client that does what a person does."""

    platform: Platform
    client: LakeFsClient
    versions: LakeFsVersionStore
    uid: str
    name: str

    async def push(self, *removed: str, message: str = "from a person", **put: str) -> None:
        for path, text in put.items():
            await self.client.upload(self.name, "inbox", f"documents/{path}", text.encode(), "text/plain")
        await self.client.delete(self.name, "inbox", [f"documents/{path}" for path in removed])
        await self.client.commit(self.name, "inbox", message, {})

    async def merge_main(self) -> None:
        """Into the inbox, once `main` has come to the head."""
        head = await self.platform.adapters.catalog.head("docs")
        for _ in range(100):
            if head is not None and await self.versions.main(self.uid) == head.id:
                return await self.client.merge(self.name, "main", "inbox", "up to date", {}, strategy="source-wins")
            await asyncio.sleep(0.1)
        raise TimeoutError

    async def head(self, position: int) -> Commit:
        """Once it has come so far."""
        for _ in range(200):
            head = await self.platform.adapters.catalog.head("docs")
            if head is not None and head.position >= position:
                assert head.position == position
                return head
            await asyncio.sleep(0.1)
        raise TimeoutError

    async def texts(self, commit: str) -> dict[str, str]:
        infos = await self.versions.documents(self.uid, commit)
        return {info.path: (await self.versions.read(self.uid, commit, info.path)).content.decode() for info in infos}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeFs]:
    """One of our own: it needs the secret in its environment."""
    with serving(tmp_path_factory.mktemp("lakefs-hook"), environment={"LAKEFSACTION_RAGSTONE_HOOK_SECRET": SECRET}) as lakefs:
        yield lakefs


@pytest.fixture
async def bench(server: LakeFs) -> AsyncIterator[Bench]:
    prefix = fresh_prefix()
    versions, client = server.store(prefix=prefix), server.client()
    adapters = replace(fake_platform().adapters, versions=versions, inbox=versions.inbox)
    answering = Answering(HashingEmbeddingModel(32), ScriptedGenerator(), Prompts(), Calibrations())
    platform = assemble(adapters, answering, Limits(), "test")
    await platform.start()
    uid = (await platform.collections.create("docs")).uid
    async with running(create_app(platform, Settings(data_dir=Path("data")), None, lambda: SECRET)) as url:
        made = Bench(platform, client, versions, uid, prefix + uid)
        tip = await client.tip(made.name, "main")
        assert tip is not None
        await client.create_branch(made.name, "inbox", tip)
        action = ACTION.replace("http://ragstone-orchestrator:8642", url)
        assert action != ACTION
        await client.upload(made.name, "inbox", KEY, action.encode(), "text/yaml")
        await client.commit(made.name, "inbox", "ragstone is told of commits", {})
        yield made
        await platform.adapters.queue.stop(1)
    await versions.close()
    await client.close()


async def test_what_people_commit_to_the_inbox_is_ingested(bench: Bench) -> None:
    await bench.push(message="two notes", a="One.", b="Two.")
    head = await bench.head(1)
    assert await bench.texts(head.id) == {"a": "One.", "b": "Two."}
    assert (head.author, head.message) == ("admin", "two notes")
    await bench.push("a", b="Two, changed.", c="Three.")
    head = await bench.head(2)
    assert await bench.texts(head.id) == {"b": "Two, changed.", "c": "Three."}
    assert await bench.versions.inbox.push(bench.uid) is None


async def test_a_merge_of_main_into_the_inbox_brings_nothing_back(bench: Bench) -> None:
    await bench.push(a="One.")
    await bench.head(1)
    for text in ("By the API.", "By the API, again."):
        job = await bench.platform.ingest.submit("docs", IngestRequest((Upload("api", text.encode(), "text/plain"),)))
        await bench.platform.ingest.wait(job.id, 20)
        if text == "By the API.":
            await bench.merge_main()
    await bench.push(b="Two.")
    head = await bench.head(4)
    assert await bench.texts(head.id) == {"a": "One.", "b": "Two.", "api": "By the API, again."}


async def test_what_the_api_deletes_is_deleted_once_and_what_people_delete_too(bench: Bench) -> None:
    for text in ("One.", "Two."):
        request = IngestRequest((Upload("api", text.encode(), "text/plain"), Upload("other", text.encode(), "text/plain")))
        await bench.platform.ingest.wait((await bench.platform.ingest.submit("docs", request)).id, 20)
        await bench.merge_main()
        if text == "One.":
            deleted = await bench.platform.ingest.submit("docs", IngestRequest(deletes=(Delete("api"),)))
            await bench.platform.ingest.wait(deleted.id, 20)
            await bench.merge_main()
    await bench.push("other", mine="Mine.")
    head = await bench.head(4)
    assert await bench.texts(head.id) == {"api": "Two.", "mine": "Mine."}


async def test_a_push_that_was_not_told_comes_with_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.client.delete(bench.name, "inbox", [KEY])
    await bench.push(a="One.")  # nobody tells
    await bench.client.upload(bench.name, "inbox", KEY, b"name: nothing\non: {post-commit: }\nhooks: []\n", "text/yaml")
    assert bench.platform.inboxes is not None
    taken = await bench.platform.inboxes.take(bench.name)
    await bench.platform.ingest.wait(taken.jobs[0].id, 20)
    assert await bench.texts((await bench.head(1)).id) == {"a": "One."}
    assert (await bench.platform.inboxes.take(bench.name)).jobs == ()


async def test_an_inbox_of_nobody_is_no_error(bench: Bench) -> None:
    await bench.client.delete_branch(bench.name, "inbox")
    assert await bench.versions.inbox.push(bench.uid) is None
