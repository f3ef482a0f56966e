"""A server with keys: who gets in, what each scope allows, who is recorded, and that no key shows anywhere."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.domain.access import Principal, Scope
from ragstone.services.orchestrator.access import Rule, Where, rule_of
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from ragstone.use_cases.platform import Platform
from tests.api.conftest import FARES, GUIDE, Api, everything
from tests.fakes.authenticator import KnownKeys
from tests.fakes.platform import fake_platform

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")
KEYS = {f"{scope.word}-s3cret": Principal(scope.word, scope) for scope in Scope}
REFUSED: list[list[tuple[str, Any]]] = [
    [],
    [("Authorization", "read-s3cret")],
    [("Authorization", "Basic read-s3cret")],
    [("Authorization", "Bearer")],
    [("Authorization", "Bearer ")],
    [("Authorization", "Bearer read-s3cret read-s3cret")],
    [("Authorization", "Bearer read-s3cret"), ("Authorization", "Bearer admin-s3cret")],
    [("Authorization", b"Bearer read-s3cret\xff")],
    [("X-Api-Key", "read-s3cret")],
    *([("Authorization", f"Bearer {key}")] for key in ("read-s3cre", "READ-S3CRET", "read-s3cret-", "x" * 16_385)),
]
HANDBOOK: Any = {"collection": "handbook", "create": True, "documents": [GUIDE, FARES], "author": "somebody else"}
QUESTION = {"collection": "handbook", "question": "What does a bicycle ticket cost?"}
INSIDE = {
    "collection": "handbook",
    "path": "fares.txt",
    "reference": "head",
    "other": "#1",
    "name": "v1",
    "job": "x",
    "interaction": "x",
    "model": "m",
    "space": "absent",
}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def routes() -> Iterator[tuple[str, str, Rule | None]]:
    """Method, path and rule of every route."""
    for route in guarded(fake_platform()).routes:
        for method in route.methods:
            yield method, route.path_format, rule_of(route)


def guarded(platform: Platform) -> Any:
    return create_app(platform, Settings(data_dir=Path("data")), KnownKeys(dict(KEYS)))


ROUTES = list(routes())


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """With keys, and reached by a name that a server without keys would refuse."""
    platform = fake_platform()
    await platform.start()
    transport = httpx.ASGITransport(guarded(platform), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://rag.example.org") as http:
        yield Api(http, platform)
    await platform.adapters.queue.stop(1)


@pytest.fixture
async def filled(api: Api) -> Api:
    answer = await api.http.post("/ingest", json=HANDBOOK, headers=bearer("write-s3cret"))
    assert answer.status_code == 200, answer.text
    return api


def test_the_documentation_names_every_route_with_its_scope() -> None:
    table = re.findall(r"^\| `(\w+) ([^`]+)` \| (.+?) \|$", PAGE, re.MULTILINE)
    assert len(table) == len(set(table))
    told = {(method, path, f"{rule.scope.word} | {rule.where}" if rule else "none, not even a key | ") for method, path, rule in ROUTES}
    assert set(table) == told


def test_a_route_that_states_nothing_needs_admin() -> None:
    def forgotten() -> None: ...

    class Route:
        endpoint = staticmethod(forgotten)

    assert rule_of(Route()) == Rule(Scope.ADMIN, Where.EVERYWHERE)  # type: ignore[arg-type]  # all that is looked at


async def test_each_route_answers_from_its_scope_on(filled: Api) -> None:
    for method, path, rule in ROUTES:
        if rule is None:
            continue
        scope = rule.scope
        where, place = f"{method} {path}", path.format(**INSIDE).replace("#", "%23")
        if path.endswith("/export"):  # that of all collections needs more
            place += "?collection=handbook"
        before = await everything(filled.platform)
        for headers, challenge in (({}, ""), (bearer("unknown"), ', error="invalid_token"')):
            refused = await filled.http.request(method, place, headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, f'Bearer realm="ragstone"{challenge}'), where
        for key, principal in KEYS.items():
            if not principal.may(scope):
                refused = await filled.http.request(method, place, headers=bearer(key))
                said = refused.json()
                assert refused.status_code == 403, where
                assert refused.headers["www-authenticate"] == 'Bearer realm="ragstone", error="insufficient_scope"', where
                assert f"the scope {scope.word}" in (said.get("detail") or said["error"]["message"]), where
        assert await everything(filled.platform) == before, where
        allowed = await filled.http.request(method, place, headers=bearer(f"{scope.word}-s3cret"))
        assert allowed.status_code not in (401, 403), where


async def test_health_and_docs_are_open_to_all(api: Api) -> None:
    for path in ("/healthz", "/readyz", "/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json"):
        assert (await api.http.get(path)).status_code == 200
    assert (await api.http.get("/")).headers["location"] == "/docs"


async def test_what_is_not_one_known_key_is_refused(api: Api) -> None:
    for headers in REFUSED:
        for path in ("/v1/collections", "/nothing/here", "/healthz/", "/docs/../v1/collections", "//v1/collections"):
            answer = await api.http.get(path, headers=headers)
            assert answer.status_code == 401, (path, headers)
            problem = answer.json()
            assert (problem["type"], problem["field"]) == ("urn:ragstone:problem:unauthorized", "Authorization")


async def test_the_scheme_is_read_in_any_case_and_other_origins_do_not_matter(filled: Api) -> None:
    headers = {"Authorization": "bearer  read-s3cret", "Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    answer = await filled.http.get("/v1/collections", headers=headers)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_refusals_come_in_openais_shape_on_its_routes(api: Api) -> None:
    refused = await api.http.get("/v1/models")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")


async def test_the_keys_name_is_recorded_and_not_what_the_client_says(filled: Api) -> None:
    read, write, admin = map(bearer, KEYS)
    http, collection = filled.http, "/v1/collections/handbook"
    await http.put(f"{collection}/documents/a.txt", content=b"Some words.", params={"author": "bob"}, headers=admin)
    await http.post(f"{collection}/rollback", json={"to": "#1", "author": "bob"}, headers=write)
    commits = (await http.get(f"{collection}/commits", headers=read)).json()["commits"]
    assert [commit["author"] for commit in commits] == ["write", "admin", "write"]
    assert [job.principal for job in await filled.platform.adapters.catalog.jobs()] == ["write", "admin", "write"]
    asked = (await http.post("/query", json=QUESTION, headers=read)).json()["id"]
    chat = {"model": "ragstone/handbook", "messages": [{"role": "user", "content": QUESTION["question"]}]}
    await http.post("/v1/chat/completions", json=chat, headers=write)
    await http.post(f"/v1/interactions/{asked}/replay", headers=admin)
    interactions = (await http.get("/v1/interactions", headers=read)).json()["interactions"]
    assert [one["principal"] for one in interactions] == ["admin", "write", "read"]
    erased = await http.post(f"{collection}/purge", json={"path": "fares.txt", "author": "bob"}, headers=admin)
    assert erased.json()["author"] == "admin"


async def test_two_principals_may_use_the_same_idempotency_key(filled: Api) -> None:
    jobs = []
    for key in ("write-s3cret", "admin-s3cret", "write-s3cret"):
        body = {"collection": "handbook", "documents": [{"path": "n.txt", "text": key}]}
        answer = await filled.http.post("/ingest", json=body, headers=bearer(key) | {"Idempotency-Key": "same"})
        jobs.append(answer.json()["job"]["id"])
    assert jobs[0] == jobs[2] != jobs[1]


async def test_no_key_shows_in_logs_answers_or_metrics(filled: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown = []
    for key in (*KEYS, "wrong-s3cret"):
        for method, path in (("GET", "/v1/collections"), ("GET", "/v1/models"), ("POST", "/v1/backup"), ("GET", "/nothing")):
            answer = await filled.http.request(method, path, headers=bearer(key))
            shown += [answer.text, repr(answer.headers)]
    shown += [caplog.text, (await filled.http.get("/metrics", headers=bearer("admin-s3cret"))).text]
    assert "s3cret" not in "".join(shown)


def test_the_openapi_document_tells_the_scheme_and_each_scope() -> None:
    document = guarded(fake_platform()).openapi()
    assert document["components"]["securitySchemes"]["key"] | {"description": ""} == {"type": "http", "scheme": "bearer", "description": ""}
    for method, path, rule in ROUTES:
        operation = document["paths"].get(path, {}).get(method.lower())
        if operation is not None:
            assert operation["security"] == ([{"key": [rule.scope.word]}] if rule else [])
            assert ("401" in operation["responses"]) == (rule is not None or path.startswith("/v1/hooks/"))  # those are signed
    without = create_app(fake_platform(), Settings(data_dir=Path("data"))).openapi()
    assert "securitySchemes" not in without["components"]
    assert all("security" not in operation for operations in without["paths"].values() for operation in operations.values())
