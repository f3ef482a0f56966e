"""POST /v1/hooks/lakefs over a fake inbox: signatures, repetitions, and what becomes of what people push."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.bootstrap.access import hook_secret
from ragstone.domain.access import Principal, Scope
from ragstone.domain.audit import AuditFilter
from ragstone.domain.errors import InvalidInput, StorageFull
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from ragstone.settings.stores import LakeFsVersions
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Platform
from tests.api.conftest import everything
from tests.fakes.authenticator import KnownKeys
from tests.fakes.inbox import PREFIX, InMemoryInbox
from tests.fakes.platform import fake_platform

SECRET = "0123456789abcdef-of-a-test"
LIMITS = Limits(document_bytes=100, documents=2)


@dataclass
class Hook:
    """A platform with keys and one collection, and what lakeFS does."""

    http: httpx.AsyncClient
    platform: Platform
    inbox: InMemoryInbox
    uid: str

    def body(self, **changed: Any) -> bytes:
        told = {"event": "post-commit", "repository": PREFIX + self.uid, "branch": "inbox", "commit": "c", "sent_at": time.time()}
        return json.dumps(told | changed).encode()

    async def send(
        self, content: bytes | None = None, *, signature: str | None = None, media_type: str = "application/json"
    ) -> httpx.Response:
        content = self.body() if content is None else content
        given = {"Content-Type": media_type, "X-Ragstone-Signature": sign(content) if signature is None else signature}
        return await self.http.post("/v1/hooks/lakefs", content=content, headers=given)

    async def settled(self, answer: httpx.Response) -> list[str]:
        """The states in which the jobs of an answer ended."""
        assert answer.status_code == 200, answer.text
        return [(await self.platform.ingest.wait(job, 20)).state for job in answer.json()["jobs"]]

    async def paths(self) -> list[str]:
        head = await self.platform.adapters.catalog.head("docs")
        return [info.path for info in await self.platform.adapters.versions.documents(self.uid, head.id)] if head else []


def sign(content: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    inbox = InMemoryInbox()
    platform = fake_platform(inbox=inbox, limits=LIMITS)
    await platform.start()
    uid = (await platform.collections.create("docs")).uid
    keys = KnownKeys({"admin": Principal("admin", Scope.ADMIN)})
    app = create_app(platform, Settings(data_dir=Path("data")), keys, lambda: SECRET)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://rag.example.org") as http:
        yield Hook(http, platform, inbox, uid)
    await platform.adapters.queue.stop(1)


async def test_what_is_pushed_is_ingested_by_the_ordinary_write_path(hook: Hook) -> None:
    tip = hook.inbox.commit(hook.uid, {"a.txt": b"One.", "guide/b.md": b"# Two"}, author="ann", message="two notes")
    answer = await hook.send()
    assert await hook.settled(answer) == ["published"]
    assert answer.json() == {"collection": "docs", "commit": tip, "jobs": answer.json()["jobs"], "too_large": []}
    assert await hook.paths() == ["a.txt", "guide/b.md"]
    head = await hook.platform.adapters.catalog.head("docs")
    assert head is not None
    assert (head.author, head.message) == ("ann", "two notes")
    hook.inbox.commit(hook.uid, {"c.txt": b"Three."}, "a.txt")
    assert await hook.settled(await hook.send()) == ["published"]
    assert await hook.paths() == ["c.txt", "guide/b.md"]


async def test_a_repetition_changes_nothing(hook: Hook) -> None:
    hook.inbox.commit(hook.uid, {"a.txt": b"One."})
    content = hook.body()
    first = await hook.send(content)
    await hook.settled(first)
    before = await everything(hook.platform)
    again = await hook.send(content)
    assert (again.status_code, again.json()["commit"], again.json()["jobs"]) == (200, None, [])
    assert await everything(hook.platform) == before
    assert hook.inbox.taken == 1


async def test_a_crash_before_the_inbox_was_marked_makes_no_second_job(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    hook.inbox.commit(hook.uid, {"a.txt": b"One."})

    async def killed(*_: object) -> None:
        raise StorageFull("nothing can be written")

    with monkeypatch.context() as patched:
        patched.setattr(hook.inbox, "take", killed)
        assert (await hook.send()).status_code == 507
    [job] = await hook.platform.adapters.catalog.jobs("docs")
    assert (await hook.send()).json()["jobs"] == [job.id]
    assert [one.id for one in await hook.platform.adapters.catalog.jobs("docs")] == [job.id]


@pytest.mark.parametrize(
    "given", ["", "sha256=", "sha256=" + "0" * 64, "sha1=" + "0" * 40, "SHA256=x", sign(b"another body"), sign(b"{}", "another secret")]
)
async def test_a_wrong_signature_is_refused_and_touches_nothing(hook: Hook, given: str) -> None:
    hook.inbox.commit(hook.uid, {"a.txt": b"One."})
    before = await everything(hook.platform)
    answer = await hook.send(signature=given)
    assert (answer.status_code, answer.json()["detail"]) == (401, "X-Ragstone-Signature: it is missing, or not this body's.")
    assert await everything(hook.platform) == before


@pytest.mark.parametrize("shift", [-301.0, 301.0])
async def test_a_message_from_long_ago_is_refused(hook: Hook, shift: float) -> None:
    hook.inbox.commit(hook.uid, {"a.txt": b"One."})
    answer = await hook.send(hook.body(sent_at=time.time() + shift))
    assert (answer.status_code, answer.json()["field"]) == (401, "sent_at")
    assert await hook.platform.adapters.catalog.jobs("docs") == []


async def test_what_is_no_message_is_refused(hook: Hook) -> None:
    assert (await hook.send(b"x" * 70_000)).status_code == 413
    assert (await hook.send(b"{}")).status_code == 422
    assert (await hook.send(hook.body(event="pre-commit"))).status_code == 422
    assert (await hook.send(media_type="text/plain")).status_code == 415
    assert (await hook.send(hook.body(repository="other-x"))).status_code == 404
    assert (await hook.send(hook.body(repository=PREFIX + "unknown"))).status_code == 404


async def test_a_document_that_is_too_large_is_left_out_and_named(hook: Hook) -> None:
    hook.inbox.commit(hook.uid, {"a.txt": b"One.", "big.txt": b"x" * 101})
    answer = await hook.send()
    assert answer.json()["too_large"] == ["big.txt"]
    await hook.settled(answer)
    assert await hook.paths() == ["a.txt"]


async def test_a_load_beyond_one_request_becomes_several(hook: Hook) -> None:
    hook.inbox.commit(hook.uid, {f"{n}.txt": b"Note." for n in range(5)}, "old.txt")
    assert await hook.settled(await hook.send()) == ["published"] * 3
    assert await hook.paths() == [f"{n}.txt" for n in range(5)]


async def test_a_push_of_which_nothing_can_be_ingested_is_told_and_not_tried_again(hook: Hook) -> None:
    hook.inbox.commit(hook.uid, {"bad\\name.txt": b"One."})
    answer = await hook.send()
    assert answer.status_code == 422
    assert (await hook.send()).json()["jobs"] == []


async def test_it_is_recorded_under_lakefs_s_name(hook: Hook) -> None:
    hook.inbox.commit(hook.uid, {"a.txt": b"One."})
    await hook.settled(await hook.send())
    await hook.send(signature="no")
    audit = hook.platform.adapters.audit
    assert audit is not None
    assert [(entry.principal, entry.collection, entry.status) for entry in await audit.page(AuditFilter())] == [
        ("", "", 401),
        ("lakefs", "docs", 200),
    ]
    assert [job.principal for job in await hook.platform.adapters.catalog.jobs("docs")] == ["lakefs"]


async def test_without_a_secret_there_is_no_hook() -> None:
    for platform, secret in ((fake_platform(inbox=InMemoryInbox()), None), (fake_platform(), lambda: SECRET)):
        app = create_app(platform, Settings(data_dir=Path("data")), None, secret)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            answer = await http.post("/v1/hooks/lakefs", content=b"{}", headers={"X-Ragstone-Signature": sign(b"{}")})
            assert answer.status_code == 404


def test_the_secret_comes_from_the_settings(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    lakefs: Any = {
        "kind": "lakefs",
        "endpoint": "http://x",
        "access_key_id": "k",
        "secret_access_key": "s",
        "storage_namespace": "local://x",
    }

    def settings(**more: Any) -> Settings:
        return Settings(versions=LakeFsVersions(**lakefs, **more))

    assert hook_secret(Settings()) is None
    assert hook_secret(settings()) is None
    for given in ({"hook_secret": SECRET}, {"hook_secret_file": tmp_path / "secret"}):
        secret = hook_secret(settings(**given))
        assert secret is not None
        assert secret() == SECRET
    with pytest.raises(InvalidInput, match="shorter than 16"):
        hook_secret(settings(hook_secret=""))
