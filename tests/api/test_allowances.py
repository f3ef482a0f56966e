"""What each principal may use: who is refused, what the refusal says, and that nobody is refused because of the counting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.domain.access import Principal, Scope
from ragstone.domain.errors import Unavailable
from ragstone.domain.usage import Charge
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import RateLimitSettings, Settings
from tests.api.conftest import FARES, GUIDE
from tests.fakes.authenticator import KnownKeys
from tests.fakes.platform import fake_platform
from tests.fakes.usage_meter import InMemoryUsage

LIMITS = RateLimitSettings(reads_per_minute=3, writes_per_minute=2, questions_per_day=2, documents_per_day=3, bytes_per_day=200)
QUESTION = {"collection": "handbook", "question": "What does a bicycle ticket cost?"}


class Meter(InMemoryUsage):
    """Can be told to fail."""

    down = False

    async def use(self, principal: str, charges: Sequence[Charge]) -> tuple[Charge, float] | None:
        if self.down:
            raise Unavailable("down")
        return await super().use(principal, charges)


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
async def http(meter: Meter) -> AsyncIterator[httpx.AsyncClient]:
    platform = fake_platform(meter=meter)
    await platform.start()
    keys = KnownKeys({name: Principal(name, Scope.ADMIN) for name in ("ann", "bob")})
    settings = Settings(data_dir=Path("data"), rate_limits=LIMITS)
    transport = httpx.ASGITransport(create_app(platform, settings, keys), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://rag.example.org", headers=bearer("ann")) as client:
        body = {"collection": "handbook", "create": True, "documents": [GUIDE, FARES]}
        assert (await client.post("/ingest", json=body, headers=bearer("bob"))).status_code == 200
        meter.counts.clear()
        yield client
    await platform.adapters.queue.stop(1)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def refusal(answer: httpx.Response) -> tuple[int, Any, Any, Any]:
    said = answer.json()
    return answer.status_code, said["type"], said["field"], answer.headers.get("retry-after")


def beyond(what: str, seconds: int) -> tuple[int, str, str, str]:
    return 429, "urn:ragstone:problem:allowance-used", what, str(seconds)


async def test_reads_and_writes_are_counted_apart_for_each_principal(http: httpx.AsyncClient, meter: Meter) -> None:
    for _ in range(3):
        assert (await http.get("/v1/collections")).status_code == 200
    answer = await http.get("/v1/info")
    assert refusal(answer) == beyond("reads_per_minute", 60)
    assert "ann may use 3" in answer.json()["detail"]
    assert (await http.get("/v1/collections", headers=bearer("bob"))).status_code == 200
    tags = [await http.post("/v1/collections/handbook/tags", json={"name": f"v{number}", "commit": "head"}) for number in range(3)]
    assert [tag.status_code for tag in tags] == [201, 201, 429]
    assert refusal(tags[2]) == beyond("writes_per_minute", 60)
    listed = (await http.get("/v1/collections/handbook/tags", headers=bearer("bob"))).json()["tags"]
    assert {tag["name"] for tag in listed} == {"v0", "v1"}
    meter.counts.clear()
    assert (await http.get("/v1/info")).status_code == 200


async def test_health_and_metrics_are_not_counted(http: httpx.AsyncClient) -> None:
    for _ in range(5):
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert (await http.get(path)).status_code == 200
    await http.get("/v1/nothing")
    for _ in range(4):
        await http.get("/v1/info")
    assert 'ragstone_allowances_used_total{allowance="reads_per_minute"} 1.0' in (await http.get("/metrics")).text


async def test_questions_have_a_quota(http: httpx.AsyncClient) -> None:
    assert (await http.post("/query", json=QUESTION)).status_code == 200
    assert (await http.post("/v1/search", json=QUESTION)).status_code == 200
    assert refusal(await http.post("/query", json=QUESTION)) == beyond("questions_per_day", 86_400)
    chat = {"model": "ragstone/handbook", "messages": [{"role": "user", "content": "Cost?"}]}
    refused = await http.post("/v1/chat/completions", json=chat)
    assert (refused.status_code, refused.json()["error"]["type"], refused.json()["error"]["code"]) == (
        429,
        "rate_limit_error",
        "allowance-used",
    )
    assert (await http.get("/v1/info")).status_code == 200  # the refused ones are no reads either


async def test_documents_and_their_bytes_have_quotas(http: httpx.AsyncClient) -> None:
    place = "/v1/collections/handbook/documents"
    large = {"collection": "handbook", "documents": [{"path": "large.txt", "text": "x" * 201}]}
    assert refusal(await http.post("/ingest", json=large)) == beyond("bytes_per_day", 86_400)
    assert (await http.put(f"{place}/a.txt", content=b"x" * 200)).status_code == 200
    many = {"collection": "handbook", "documents": [{"path": f"{n}.txt", "text": "word"} for n in range(4)]}
    refused = await http.post("/ingest", json=many, headers=bearer("bob"))
    assert refusal(refused) == beyond("documents_per_day", 86_400)
    planned = await http.post("/ingest", json={**many, "dry_run": True}, headers=bearer("bob"))
    assert planned.status_code == 200
    documents = (await http.get(place, headers=bearer("bob"))).json()["documents"]
    assert {one["path"] for one in documents} == {GUIDE["path"], FARES["path"], "a.txt"}


async def test_nobody_is_refused_because_it_can_not_be_counted(http: httpx.AsyncClient, meter: Meter) -> None:
    meter.down = True
    for _ in range(6):
        assert (await http.get("/v1/collections")).status_code == 200
    assert "ragstone_allowances_uncounted_total 6.0" in (await http.get("/metrics")).text


async def test_what_went_too_fast_is_no_entry_of_the_audit_log(http: httpx.AsyncClient) -> None:
    for number in range(4):
        await http.post("/v1/collections/handbook/tags", json={"name": f"v{number}", "commit": "head"})
    entries = (await http.get("/v1/audit", headers=bearer("bob"))).json()["entries"]
    assert [one["status"] for one in entries if one["principal"] == "ann"] == [201, 201]
