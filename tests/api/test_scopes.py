"""Keys whose scopes are of some collections: what they may do there, and that of other collections they learn nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ragstone.domain.access import Principal, Scope, parse_scopes
from ragstone.services.orchestrator import access
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from tests.api.conftest import FARES, GUIDE, Api, everything
from tests.api.test_access import ROUTES, bearer
from tests.fakes.authenticator import KnownKeys
from tests.fakes.platform import fake_platform

SCOPES = {"reader": "handbook=read", "team": "handbook=read,team-*=write", "owner": "handbook=admin", "root": "admin"}
KEYS = {name: Principal(name, *parse_scopes(scopes)) for name, scopes in SCOPES.items()}
SECRET, ABSENT = "team-treasury", "team-absentee"  # of one length, so that a body says the same of both
ASKED = {"question": "What does a bicycle ticket cost?"}
CHAT = [{"role": "user", "content": "What does a bicycle ticket cost?"}]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    platform = fake_platform()
    await platform.start()
    app = create_app(platform, Settings(data_dir=Path("data")), KnownKeys(dict(KEYS)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://rag.example.org", headers=bearer("reader")
    ) as http:
        for collection in ("handbook", SECRET):
            body = {"collection": collection, "create": True, "documents": [GUIDE, FARES]}
            assert (await http.post("/ingest", json=body, headers=bearer("root"))).status_code == 200
        yield Api(http, platform)
    await platform.adapters.queue.stop(1)


def requests(collection: str, job: str = "x", interaction: str = "x") -> list[tuple[str, str, str, Any]]:
    """Route, method, place and body of requests that name a collection, or something of it, by every route that can."""
    inside = {"path": "fares.txt", "reference": "head", "other": "%231", "name": "v1", "space": "absent", "collection": collection}
    asked: list[tuple[str, str, str, Any]] = [
        ("/query", "POST", "/query", {"collection": collection, **ASKED}),
        ("/query", "POST", "/query", {"collection": collection, **ASKED, "stream": True}),
        ("/v1/search", "POST", "/v1/search", {"collection": collection, **ASKED}),
        ("/ingest", "POST", "/ingest", {"collection": collection, "documents": [FARES]}),
        ("/ingest", "POST", "/ingest", {"collection": collection, "documents": [FARES], "dry_run": True}),
        ("/v1/jobs", "GET", f"/v1/jobs?collection={collection}", None),
        ("/v1/jobs/{job}", "GET", f"/v1/jobs/{job}", None),
        ("/v1/jobs/{job}/events", "GET", f"/v1/jobs/{job}/events", None),
        ("/v1/dead-letters", "GET", f"/v1/dead-letters?collection={collection}", None),
        ("/v1/dead-letters/{job}", "GET", f"/v1/dead-letters/{job}", None),
        ("/v1/dead-letters/{job}", "DELETE", f"/v1/dead-letters/{job}", None),
        ("/v1/dead-letters/{job}/replay", "POST", f"/v1/dead-letters/{job}/replay", None),
        ("/v1/interactions", "GET", f"/v1/interactions?collection={collection}", None),
        ("/v1/interactions/export", "GET", f"/v1/interactions/export?collection={collection}", None),
        ("/v1/interactions/{interaction}", "GET", f"/v1/interactions/{interaction}", None),
        ("/v1/interactions/{interaction}/feedback", "POST", f"/v1/interactions/{interaction}/feedback", {"thumb": 1}),
        ("/v1/interactions/{interaction}/replay", "POST", f"/v1/interactions/{interaction}/replay", None),
        ("/v1/models/{model}", "GET", f"/v1/models/ragstone/{collection}", None),
        ("/v1/models/{model}", "GET", f"/v1/models/ragstone/{collection}@head", None),
        ("/v1/chat/completions", "POST", "/v1/chat/completions", {"model": f"ragstone/{collection}", "messages": CHAT}),
        ("/v1/embeddings", "POST", "/v1/embeddings", {"model": f"ragstone/{collection}", "input": "x"}),
    ]
    in_path = [
        (path, method, path.format(**inside), None)
        for method, path, rule in ROUTES
        if rule is not None and rule.where is access.Where.COLLECTION
    ]
    return [*asked, *in_path]


LISTINGS = {"/v1/collections", "/v1/models", "/v1/info"}  # and POST /v1/collections: it names what is to be


def test_every_route_that_asks_is_looked_at_here() -> None:
    asking = {path for _, path, rule in ROUTES if rule is not None and rule.where is access.Where.ASKED}
    assert asking == ({path for path, *_ in requests("c") if "{collection}" not in path} | LISTINGS)


async def test_a_collection_that_may_not_be_read_is_told_as_one_that_is_not_there(api: Api) -> None:
    answer = await api.http.post("/query", json={"collection": SECRET, **ASKED}, headers=bearer("root"))
    [job] = await api.platform.ingest.jobs(SECRET)
    before = await everything(api.platform)
    theirs = requests(SECRET, job.id, answer.json()["id"])
    nobodys = requests(ABSENT, "0" * len(job.id), "0" * len(answer.json()["id"]))
    for (path, method, place, body), (_, _, absent, other) in zip(theirs, nobodys, strict=True):
        for key in ("reader", "owner"):  # who are admin of another collection, too
            refused = await api.http.request(method, place, json=body, headers=bearer(key))
            missing = await api.http.request(method, absent, json=other, headers=bearer(key))
            assert refused.status_code in (403, 404), (method, place)
            assert _told(refused, job.id, answer.json()["id"]) == _told(missing, "0" * len(job.id)), (method, place)
            if refused.status_code == 403:  # for which no collection would do that this key has
                assert KEYS[key].may_somewhere(_needed(method, path)) is False
    assert await everything(api.platform) == before


def _needed(method: str, path: str) -> Scope:
    [rule] = [rule for verb, place, rule in ROUTES if (verb, place.replace(":path", "")) == (method, path)]
    assert rule is not None
    return rule.scope


def _told(answer: httpx.Response, *ids: str) -> tuple[int, Any, Any]:
    """Status, headers and body, without what every two answers differ in."""
    text = answer.text.replace(answer.headers["x-request-id"], "").replace(SECRET, ABSENT)
    for id_ in ids:
        text = text.replace(id_, "0" * len(id_))
    own = {"x-request-id"}
    return answer.status_code, {name: value for name, value in answer.headers.items() if name not in own}, text


async def test_what_is_told_of_an_absent_collection_are_the_catalogs_own_words(api: Api) -> None:
    for path, method, place, body in requests(ABSENT):
        mine = await api.http.request(method, place, json=body, headers=bearer("reader"))
        if mine.status_code == 403 or path in ("/v1/jobs", "/v1/interactions", "/v1/interactions/export"):
            continue
        roots = await api.http.request(method, place, json=body, headers=bearer("root"))
        if roots.status_code == 404:
            assert _told(mine) == _told(roots), (method, place)


async def test_listings_leave_out_what_may_not_be_read(api: Api) -> None:
    for collection in ("handbook", SECRET):
        assert (await api.http.post("/query", json={"collection": collection, **ASKED}, headers=bearer("root"))).status_code == 200
    for place in ("/v1/collections", "/v1/models", "/v1/jobs", "/v1/interactions", "/v1/info"):
        mine, all_ = [await api.http.get(place, headers=bearer(key)) for key in ("reader", "root")]
        assert (mine.status_code, SECRET in mine.text) == (200, False), place
        assert SECRET in all_.text or place == "/v1/info"
    assert (await api.http.get("/v1/info")).json()["collections"] == 1
    assert [job["collection"] for job in (await api.http.get("/v1/jobs")).json()["jobs"]] == ["handbook"]
    assert [one["collection"] for one in (await api.http.get("/v1/interactions")).json()["interactions"]] == ["handbook"]
    exported = await api.http.get("/v1/interactions/export", params={"collection": "handbook"})
    assert [json.loads(line)["collection"] for line in exported.text.splitlines()] == ["handbook"]


async def test_pages_of_listings_go_on_over_what_is_left_out(api: Api) -> None:
    for number in range(6):
        for collection in ("handbook", SECRET, SECRET):
            body = {"collection": collection, "documents": [{"path": f"{number}.txt", "text": f"{number} {collection}"}]}
            await api.http.post("/ingest", json=body, headers=bearer("root"))
            await api.http.post("/query", json={"collection": collection, **ASKED}, headers=bearer("root"))
    for what, expected in (("jobs", 7), ("interactions", 6)):
        found: list[Any] = []
        after: dict[str, str] = {}
        while page := (await api.http.get(f"/v1/{what}", params={"limit": 2, **after})).json():
            found += page[what]
            if page["next"] is None:
                break
            after = {"before": page["next"]}
        assert [one["collection"] for one in found] == ["handbook"] * expected
        assert len({one["id"] for one in found}) == expected


async def test_too_little_scope_in_a_collection_that_may_be_read_is_a_403(api: Api) -> None:
    put = await api.http.put("/v1/collections/handbook/documents/a.txt", content=b"x")
    body = {"collection": "handbook", "documents": [FARES]}
    sent = await api.http.post("/ingest", json=body, headers=bearer("team"))
    for answer, key in ((put, "reader"), (sent, "team")):
        assert answer.status_code == 403
        assert answer.json()["detail"] == f"Authorization: this needs the scope write in collection 'handbook', which {key} has not."


async def test_a_key_makes_collections_under_its_own_names_only(api: Api) -> None:
    made = await api.http.post("/v1/collections", json={"name": "team-blue"}, headers=bearer("team"))
    filled = await api.http.post("/ingest", json={"collection": "team-red", "create": True, "documents": [FARES]}, headers=bearer("team"))
    assert (made.status_code, filled.status_code) == (201, 200)
    for name in ("other", "handbook"):  # one that is not there, one that is
        refused = await api.http.post("/v1/collections", json={"name": name}, headers=bearer("team"))
        assert refused.status_code == 403
        assert name in refused.json()["detail"]
    secret = await api.http.post("/v1/collections", json={"name": SECRET}, headers=bearer("owner"))
    absent = await api.http.post("/v1/collections", json={"name": ABSENT}, headers=bearer("owner"))
    assert _told(secret) == _told(absent)


async def test_an_admin_of_one_collection_is_none_of_the_server(api: Api) -> None:
    assert (await api.http.get("/v1/collections/handbook/purges", headers=bearer("owner"))).status_code == 200
    for method, place in (("POST", "/v1/doctor"), ("POST", "/v1/backup"), ("GET", "/metrics"), ("GET", "/v1/interactions/export")):
        answer = await api.http.request(method, place, headers=bearer("owner"))
        assert (answer.status_code, "the scope admin in all collections" in answer.text) == (403, True), place


async def test_an_answer_of_a_route_that_forgot_to_ask_does_not_leave() -> None:
    @access.needs_where_asked(Scope.READ)
    async def forgetful(request: Request) -> Response:
        return Response("everybody's secrets")

    route = Route("/", forgetful)
    access.guard([route])
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("there is no body")

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {"principal": KEYS["reader"]}}
    with pytest.raises(AssertionError, match="without asking"):
        await route.app(scope, receive, send)
    assert sent == []
