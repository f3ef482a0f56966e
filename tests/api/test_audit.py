"""The audit log at work: which requests leave an entry, what it says, who may read it, and what happens when it can't be kept."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragstone.domain.access import Principal, Scope
from ragstone.domain.audit import AuditEntry
from ragstone.domain.errors import Unavailable
from ragstone.services.orchestrator.access import open_to_all
from ragstone.services.orchestrator.app import create_app
from ragstone.services.orchestrator.audit import Auditing, is_audited
from ragstone.services.orchestrator.middleware import RequestContext
from ragstone.settings.model import Settings
from ragstone.telemetry.metrics import Metrics
from tests.api.conftest import FARES, Api, serve
from tests.fakes.audit_log import InMemoryAuditLog
from tests.fakes.authenticator import KnownKeys
from tests.fakes.platform import fake_platform

DOCUMENT = "/v1/collections/handbook/documents/a.txt"


class Log(InMemoryAuditLog):
    """Can be told to take nothing."""

    down = False

    async def append(self, entry: AuditEntry) -> None:
        if self.down:
            raise Unavailable("The spool is full.")
        await super().append(entry)

    def told(self) -> list[tuple[str, str, str, int]]:
        return [(one.principal, one.what, one.collection, one.status) for one in self.entries.values()]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def api(log: Log) -> AsyncIterator[Api]:
    """With a key for each scope: `read`, `write`, `admin`."""
    platform = fake_platform(audit=log)
    keys = KnownKeys({scope.word: Principal(scope.word, scope) for scope in Scope})
    await platform.start()
    transport = httpx.ASGITransport(create_app(platform, Settings(data_dir=Path("data")), keys), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://rag.example.org", headers=bearer("admin")) as http:
        filled = Api(http, platform)
        await filled.ingest(FARES)
        log.entries.clear()
        yield filled
    await platform.adapters.queue.stop(1)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_write_leaves_an_entry_and_a_read_none(api: Api, log: Log) -> None:
    put = await api.http.put(DOCUMENT, content=b"s3cret words", headers=bearer("write") | {"X-Request-Id": "mine"})
    assert put.status_code == 200
    [entry] = log.entries.values()
    what = "PUT /v1/collections/{collection}/documents/{path}"
    assert (entry.principal, entry.what, entry.collection, entry.status, entry.request_id) == ("write", what, "handbook", 200, "mine")
    assert "s3cret" not in repr(entry)
    assert "a.txt" not in repr(entry)
    for method, path, body in (
        ("GET", "/v1/collections", None),
        ("GET", DOCUMENT, None),
        ("POST", "/query", {"collection": "handbook", "question": "How much?"}),
        ("POST", "/v1/search", {"collection": "handbook", "question": "How much?"}),
        ("GET", "/metrics", None),
        ("GET", "/healthz", None),
        ("POST", "/nothing", None),
        ("DELETE", "/query", None),
    ):
        await api.http.request(method, path, json=body)
    assert len(log.entries) == 1


async def test_administration_leaves_one_too_reading_or_not(api: Api, log: Log) -> None:
    await api.http.get("/v1/interactions/export")
    await api.http.post("/v1/backup")
    await api.http.get("/v1/collections/handbook/purges")
    await api.http.delete("/v1/collections/handbook")
    await api.http.delete("/v1/collections/handbook")
    assert log.told() == [
        ("admin", "GET /v1/interactions/export", "", 200),
        ("admin", "POST /v1/backup", "", 404),
        ("admin", "GET /v1/collections/{collection}/purges", "handbook", 200),
        ("admin", "DELETE /v1/collections/{collection}", "handbook", 204),
        ("admin", "DELETE /v1/collections/{collection}", "handbook", 404),
    ]


async def test_the_collection_of_a_body_is_told(api: Api, log: Log) -> None:
    await api.ingest(FARES, collection="other")
    await api.http.post("/v1/collections", json={"name": "third"})
    await api.http.post("/ingest", json={"collection": "../etc", "documents": []})
    assert [(what, collection, status) for _, what, collection, status in log.told()] == [
        ("POST /ingest", "other", 200),
        ("POST /v1/collections", "third", 201),
        ("POST /ingest", "", 422),
    ]


async def test_refused_attempts_leave_one(api: Api, log: Log) -> None:
    for headers in ({"Authorization": ""}, bearer("unknown"), bearer("read")):
        await api.http.put(DOCUMENT, content=b"x", headers=headers)
        await api.http.get("/v1/audit", headers=headers)
        await api.http.get("/v1/collections", headers=headers)
    put, read = "PUT /v1/collections/{collection}/documents/{path}", "GET /v1/audit"
    assert log.told() == [
        *2 * [("", put, "handbook", 401), ("", read, "", 401)],
        ("read", put, "handbook", 403),
        ("read", read, "", 403),
    ]


async def test_strangers_can_not_fill_the_log(api: Api, log: Log) -> None:
    for _ in range(70):
        assert (await api.http.delete(f"/v1/collections/{'x' * 2000}", headers=bearer("unknown"))).status_code == 401
    assert len(log.entries) == 60
    assert {entry.collection for entry in log.entries.values()} == {"x" * 100}
    assert "ragstone_audit_refusals_left_out_total 10.0" in (await api.http.get("/metrics")).text
    await api.http.delete("/v1/collections/handbook")
    assert len(log.entries) == 61


async def test_what_an_open_route_did_is_always_recorded(log: Log) -> None:
    @open_to_all
    async def hook(request: Request) -> Response:
        return Response(status_code=int(request.query_params["status"]))

    routes: list[Any] = [Route("/hook", hook, methods=["POST"])]
    metrics = Metrics()
    app = RequestContext(Auditing(Starlette(routes=routes), log, routes, metrics), metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://rag.example.org") as http:
        for status in 70 * [202] + 70 * [401]:
            assert (await http.post("/hook", params={"status": status})).status_code == status
    assert [status for _, _, _, status in log.told()] == 70 * [202] + 60 * [401]


async def test_pages_follow_one_another(api: Api) -> None:
    for number in range(5):
        await api.http.put(DOCUMENT, content=f"version {number}".encode())
    first = (await api.http.get("/v1/audit", params={"limit": 3, "collection": "handbook"})).json()
    rest = (await api.http.get("/v1/audit", params={"before": first["next"], "collection": "handbook"})).json()
    assert (len(first["entries"]), len(rest["entries"]), rest["next"]) == (3, 2, None)
    assert len({one["id"] for one in first["entries"] + rest["entries"]}) == 5
    newest = first["entries"][0]
    assert newest["at"].endswith("Z")
    later = (await api.http.get("/v1/audit", params={"since": newest["at"], "principal": "admin"})).json()["entries"]
    assert {one["what"] for one in later} <= {"GET /v1/audit", newest["what"]}
    assert (await api.http.get("/v1/audit", params={"since": "yesterday"})).json()["field"] == "since"
    assert (await api.http.get("/v1/audit", params={"principal": "nobody"})).json() == {"entries": [], "next": None}


async def test_what_can_not_be_recorded_is_told_and_then_nothing_is_changed(api: Api, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    log.down = True
    answer = await api.http.put(DOCUMENT, content=b"first")
    assert (answer.status_code, answer.json()["field"]) == (503, "audit")
    assert "status 200" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "PUT /v1/collections" in record.getMessage()
    head = await api.head()
    for _ in range(3):
        answer = await api.http.put(DOCUMENT, content=b"second")
        assert answer.status_code == 503
        assert "nothing was done" in answer.json()["detail"]
    assert await api.head() == head
    assert (await api.http.get(DOCUMENT, params={"form": "text"})).text == "first"
    log.down = False
    assert (await api.http.put(DOCUMENT, content=b"third")).status_code == 200
    assert [status for _, _, _, status in log.told()] == [200, 200]


async def test_a_refusal_that_can_not_be_recorded_lets_nobody_in(api: Api, log: Log) -> None:
    log.down = True
    assert (await api.http.delete("/v1/collections/handbook", headers=bearer("unknown"))).status_code == 503
    log.down = False
    assert (await api.http.delete("/v1/collections/handbook", headers=bearer("unknown"))).status_code == 401
    assert [status for _, _, _, status in log.told()] == [401, 401]


async def test_a_server_without_keys_records_its_one_user_and_foreign_pages(tmp_path: Path, log: Log) -> None:
    async with serve(fake_platform(audit=log), Settings(data_dir=tmp_path)) as api:
        await api.ingest(FARES)
        await api.http.delete("/v1/collections/handbook", headers={"Origin": "https://evil.example"})
    assert log.told() == [("local", "POST /ingest", "handbook", 200), ("", "DELETE /v1/collections/{collection}", "handbook", 403)]


def test_every_route_that_changes_something_is_recorded() -> None:
    """Reading requests by POST are those that ask."""
    asking = {"/query", "/v1/search", "/v1/chat/completions", "/v1/embeddings", "/v1/interactions/{interaction}/replay"}
    routes: list[Any] = list(create_app(fake_platform(), Settings(data_dir=Path("data"))).routes)
    for route in routes:
        assert isinstance(route, Route)
        for method in route.methods or ():
            if method not in ("GET", "HEAD"):
                assert is_audited(route, method) == (route.path not in asking), (method, route.path)
