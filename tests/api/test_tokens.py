"""Tokens of an issuer on a whole server, beside keys: who is recorded, what they may, and what refusals say over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ragstone.adapters.bearers import KeysAndTokens
from ragstone.bootstrap.access import authenticator
from ragstone.domain.access import Principal, Scope
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import OidcSettings, Settings
from ragstone.use_cases.platform import Platform
from tests.api.conftest import FARES
from tests.fakes.authenticator import KnownKeys
from tests.fakes.platform import fake_platform
from tests.support.issuer import AUDIENCE, OTHER_RSA, Issuer, issuer
from tests.support.server import running

FORGED = 'Bearer realm="ragstone", error="invalid_token"'


@dataclass
class Guarded:
    """A server with a key `admin-key` and an issuer."""

    http: httpx.AsyncClient
    idp: Issuer
    platform: Platform

    async def get(self, path: str, token: str) -> httpx.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
async def server() -> AsyncIterator[Guarded]:
    platform = fake_platform()
    await platform.start()
    async with issuer() as idp:
        settings = Settings(data_dir=Path("data"), oidc=OidcSettings(issuer=idp.url, audience=AUDIENCE))
        tokens = authenticator(settings)
        assert tokens is not None
        both = KeysAndTokens(KnownKeys({"admin-key": Principal("admin", Scope.ADMIN)}), tokens)
        async with running(create_app(platform, settings, both)) as address, httpx.AsyncClient(base_url=address) as http:
            yield Guarded(http, idp, platform)
        await both.close()
    await platform.adapters.queue.stop(1)


async def test_the_owner_of_a_token_writes_under_their_own_name_where_they_may(server: Guarded) -> None:
    token = server.idp.token(scope="openid ragstone:handbook=write")
    headers = {"Authorization": f"Bearer {token}"}
    body = {"collection": "handbook", "create": True, "documents": [FARES], "author": "somebody else"}
    assert (await server.http.post("/ingest", json=body, headers=headers)).status_code == 200
    assert (await server.http.post("/ingest", json={**body, "collection": "other"}, headers=headers)).status_code == 403
    commits = (await server.get("/v1/collections/handbook/commits", "admin-key")).json()["commits"]
    assert [commit["author"] for commit in commits] == ["oidc:ann"]
    entries = (await server.get("/v1/audit", "admin-key")).json()["entries"]
    assert [(one["principal"], one["collection"], one["status"]) for one in entries] == [
        ("oidc:ann", "other", 403),
        ("oidc:ann", "handbook", 200),
    ]


async def test_a_token_without_a_scope_of_ours_may_nothing(server: Guarded) -> None:
    for path in ("/v1/collections", "/v1/info", "/v1/audit"):
        refused = await server.get(path, server.idp.token(scope="openid profile"))
        assert (refused.status_code, refused.headers["www-authenticate"]) == (403, 'Bearer realm="ragstone", error="insufficient_scope"')


async def test_a_forged_token_is_refused_in_the_same_words_as_garbage_of_its_form(server: Guarded) -> None:
    good = server.idp.token()
    assert (await server.get("/v1/collections", good)).status_code == 200
    head, claims, _ = good.split(".")
    answers = [
        await server.get("/v1/collections", token) for token in (server.idp.token(OTHER_RSA), f"{head}.{claims}.AAAA", f"{head}.x.x")
    ]
    assert {(answer.status_code, answer.headers["www-authenticate"], answer.json()["detail"]) for answer in answers} == {
        (401, FORGED, "Authorization: this token is not one of this server's issuer.")
    }
    assert good not in "".join(answer.text for answer in answers)


async def test_a_token_may_be_large_and_not_too_large(server: Guarded) -> None:
    large = server.idp.token(padding="x" * 11_000)
    assert len(large) > 15_000
    assert (await server.get("/v1/collections", large)).status_code == 200
    assert (await server.get("/v1/collections", server.idp.token(padding="x" * 12_500))).status_code == 401


async def test_an_issuer_that_is_down_makes_tokens_unavailable_and_keys_go_on(server: Guarded) -> None:
    server.idp.status = 500
    refused = await server.get("/v1/collections", server.idp.token())
    assert (refused.status_code, refused.json()["field"]) == (503, "identity")
    assert refused.headers["retry-after"]
    assert (await server.get("/v1/collections", "admin-key")).status_code == 200
