"""Tokens of an issuer: which are taken, for whom, which are refused with what words, and how often the issuer is asked for its keys."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from ragstone.adapters.bearers import KeysAndTokens
from ragstone.adapters.oidc import OidcAuthenticator, TokenRules, is_token
from ragstone.adapters.oidc_keys import IssuerKeys, keys_of
from ragstone.bootstrap.access import authenticator
from ragstone.domain.access import Grant, Principal, Scope
from ragstone.domain.errors import Unauthorized, Unavailable
from ragstone.settings.model import OidcSettings, Settings
from tests.fakes.authenticator import KnownKeys
from tests.support.issuer import AUDIENCE, EDWARDS, ELLIPTIC, OTHER_RSA, RSA, Issuer, issuer, jwk, segment

NOT_OURS = "this token is not one of this server's issuer"


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def idp() -> AsyncIterator[Issuer]:
    async with issuer() as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rules(idp: Issuer) -> TokenRules:
    return TokenRules(
        issuer=idp.url,
        audience=AUDIENCE,
        algorithms=frozenset({"RS256", "ES256", "EdDSA"}),
        skew=30.0,
        name_claim="sub",
        scopes_claim="scope",
        scopes_prefix="ragstone:",
        groups_claim="groups",
    )


def issuer_keys(idp: Issuer, clock: Clock, **changed: Any) -> IssuerKeys:
    return IssuerKeys(
        idp.url, **{"address": None, "keep": 600.0, "pause": 30.0, "timeout": 30.0, "most_bytes": 4096, **changed}, clock=clock
    )


@pytest.fixture
async def oidc(idp: Issuer, clock: Clock) -> AsyncIterator[OidcAuthenticator]:
    made = OidcAuthenticator(rules(idp), issuer_keys(idp, clock, address=f"{idp.url}/keys"))
    yield made
    await made.close()


async def refused(oidc: OidcAuthenticator, token: str) -> str:
    with pytest.raises(Unauthorized) as error:
        await oidc.principal(token)
    assert (error.value.field, error.value.presented) == ("Authorization", True)
    return error.value.message.removeprefix("Authorization: ").removesuffix(".")


@pytest.mark.parametrize(("key", "kid", "algorithm"), [(RSA, "rsa-1", "RS256"), (ELLIPTIC, "ec-1", "ES256"), (EDWARDS, "ed-1", "EdDSA")])
async def test_a_token_of_the_issuer_says_who_comes(oidc: OidcAuthenticator, idp: Issuer, key: Any, kid: str, algorithm: str) -> None:
    assert await oidc.principal(idp.token(key, kid, algorithm)) == Principal("oidc:ann", Scope.READ)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("openid ragstone:read ragstone:docs=write", Principal("oidc:ann", Scope.READ, (Grant("docs", Scope.WRITE),))),
        (["ragstone:admin", "ragstone:read", 7], Principal("oidc:ann", Scope.ADMIN)),
        ("ragstone:team-*=read,docs=admin", Principal("oidc:ann", None, (Grant("team-*", Scope.READ), Grant("docs", Scope.ADMIN)))),
        ("admin ragstone:root ragstone: ragstone:docs=root ragstone:*", Principal("oidc:ann")),
        (None, Principal("oidc:ann")),
        ({"ragstone:admin": True}, Principal("oidc:ann")),
    ],
)
async def test_words_with_the_prefix_are_scopes(oidc: OidcAuthenticator, idp: Issuer, scope: Any, expected: Principal) -> None:
    assert await oidc.principal(idp.token(scope=scope)) == expected


async def test_groups_come_along_where_a_document_can_name_them(oidc: OidcAuthenticator, idp: Issuer) -> None:
    found = await oidc.principal(idp.token(groups=["sales", "/keycloak/path", "with blank", "x" * 101, 7]))
    assert found is not None
    assert found.groups == {"sales", "keycloak/path"}
    assert "too many groups" in await refused(oidc, idp.token(groups=[f"g{n}" for n in range(65)]))
    assert "more than 200 scopes" in await refused(oidc, idp.token(scope=" ".join(f"ragstone:c{n}=read" for n in range(201))))


async def test_claims_have_the_names_of_the_settings(idp: Issuer, clock: Clock) -> None:
    own = replace(rules(idp), name_claim="email", scopes_claim="roles", scopes_prefix="", groups_claim="teams")
    oidc = OidcAuthenticator(own, issuer_keys(idp, clock, address=f"{idp.url}/keys"))
    token = idp.token(email="ann@example.org", roles=["docs=read"], teams="sales", scope="admin")
    expected = Principal("oidc:ann@example.org", None, (Grant("docs", Scope.READ),), frozenset({"sales"}))
    assert await oidc.principal(token) == expected
    await oidc.close()


async def test_clocks_may_differ_a_little(oidc: OidcAuthenticator, idp: Issuer) -> None:
    now = int(time.time())
    assert await oidc.principal(idp.token(exp=now - 20))
    assert await oidc.principal(idp.token(nbf=now + 20, iat=now + 20))
    assert await refused(oidc, idp.token(exp=now - 40)) == "this token has expired; get a new one"
    assert await refused(oidc, idp.token(nbf=now + 60)) == "this token is not valid yet; check the clocks"
    assert await refused(oidc, idp.token(iat=now + 60)) == "this token is not valid yet; check the clocks"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"iss": "https://elsewhere.example"}, "another server or of another issuer"),
        ({"aud": "another-server"}, "another server or of another issuer"),
        ({"aud": []}, "no claim aud"),
        ({"aud": ["one", "two"]}, "another server or of another issuer"),
        ({"iss": None}, "no claim iss"),
        ({"aud": None}, "no claim aud"),
        ({"exp": None}, "no claim exp"),
        ({"sub": None}, "no claim sub"),
        ({"sub": ""}, "no name"),
        ({"sub": "a\nb"}, "no name"),
        ({"sub": "x" * 201}, "no name"),
    ],
)
async def test_a_signed_token_that_is_wrong_is_told_why(oidc: OidcAuthenticator, idp: Issuer, changed: dict[str, Any], words: str) -> None:
    assert words in await refused(oidc, idp.token(**changed))


def forged(idp: Issuer, header: dict[str, Any], sign: bytes | None = None) -> str:
    """A token under any header, signed by HMAC with `sign`, or not at all."""
    said = f"{segment({'typ': 'JWT', 'kid': 'rsa-1', **header})}.{segment(idp.claims(scope='ragstone:admin'))}"
    return f"{said}.{segment(hmac.digest(sign, said.encode(), hashlib.sha256)) if sign else ''}"


async def test_what_the_issuer_did_not_sign_is_refused_without_a_reason(oidc: OidcAuthenticator, idp: Issuer) -> None:
    public = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    good = idp.token()
    head, claims, signature = good.split(".")
    deep = segment(b'{"kid":' + b"[" * 5_000 + b"]" * 5_000 + b"}")
    tokens = {
        "signed by another key": idp.token(OTHER_RSA),
        "no algorithm": forged(idp, {"alg": "none"}),
        "no algorithm, in capitals": forged(idp, {"alg": "NONE"}),
        "the public key as a password": forged(idp, {"alg": "HS256"}, public),
        "an algorithm that is not taken": idp.token(algorithm="RS512"),
        "an algorithm of another kind of key": idp.token(ELLIPTIC, "rsa-1", "ES256"),
        "an unknown key": idp.token(kid="rsa-2"),
        "no name of a key": idp.token(kid=None),
        "a name that is no text": forged(idp, {"alg": "RS256", "kid": 7}),
        "no signature": f"{head}.{claims}.",
        "another's claims": f"{head}.{segment(idp.claims(scope='ragstone:admin'))}.{signature}",
        "claims that are no JSON": f"{head}.!.{signature}",
        "no algorithm named": forged(idp, {"alg": None}),
        "a critical extension": jwt.encode(idp.claims(), RSA, "RS256", headers={"kid": "rsa-1", "crit": ["exp"], "exp": 1}),
        "a key of its own": forged(idp, {"alg": "RS256", "jwk": jwk(OTHER_RSA, "rsa-1"), "jku": "http://127.0.0.1:1/"}),
    }
    for name, token in tokens.items():
        assert await refused(oidc, token) == NOT_OURS, name
    assert await refused(oidc, idp.token(exp=float("inf"))) == NOT_OURS  # signed, and no time
    for garbage in ("", "a", "a.b", "a.b.c", "....", f"{segment([1])}.x.y", f"{deep}.x.y", idp.token(sub="x" * 20_000)):
        assert await oidc.principal(garbage) is None
    assert await oidc.principal(good)


async def test_an_expired_forgery_does_not_learn_that_it_is_expired(oidc: OidcAuthenticator, idp: Issuer) -> None:
    assert await refused(oidc, idp.token(OTHER_RSA, exp=1)) == NOT_OURS


async def test_keys_are_fetched_once_and_unknown_ones_once_in_a_while(oidc: OidcAuthenticator, idp: Issuer, clock: Clock) -> None:
    await asyncio.gather(*(oidc.principal(idp.token()) for _ in range(20)))
    assert idp.fetches == 1
    idp.keys = [*idp.keys, jwk(OTHER_RSA, "rsa-2")]
    new = idp.token(OTHER_RSA, "rsa-2")
    assert await refused(oidc, new) == NOT_OURS  # fetched a moment ago
    clock.now = 30.0
    results = await asyncio.gather(*(oidc.principal(idp.token(kid=f"made-up-{n}")) for n in range(50)), return_exceptions=True)
    assert {type(result) for result in results} == {Unauthorized}
    assert idp.fetches == 2
    assert await oidc.principal(new)
    for n in range(50):
        await refused(oidc, idp.token(kid=f"made-up-{n}"))
    assert idp.fetches == 2


async def settled(authenticator: OidcAuthenticator, token: str, fetches: int, idp: Issuer) -> None:
    """Until the fetch that `token` began behind its request's back was answered."""
    assert await authenticator.principal(token)
    async with asyncio.timeout(60), idp.fetched:
        await idp.fetched.wait_for(lambda: idp.fetches >= fetches)


async def test_old_keys_are_fetched_anew_and_withdrawn_ones_count_no_longer(oidc: OidcAuthenticator, idp: Issuer, clock: Clock) -> None:
    token = idp.token()
    assert await oidc.principal(token)
    idp.keys = idp.keys[1:]
    clock.now = 599.0
    assert await oidc.principal(token)
    assert idp.fetches == 1
    clock.now = 1200.0  # so old that nobody is let in by them unless the issuer was asked
    assert await refused(oidc, token) == NOT_OURS
    assert idp.fetches == 2


async def test_keys_of_before_count_while_the_issuer_is_down(
    oidc: OidcAuthenticator, idp: Issuer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    token = idp.token()
    assert await oidc.principal(token)
    idp.status = 500
    for clock.now, fetches in ((1300.0, 2), (1301.0, 2), (1304.0, 2), (1305.0, 3), (5000.0, 4)):  # once in five seconds at most
        assert await oidc.principal(token)
        assert idp.fetches == fetches
    assert "stay in force" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING
    idp.status, clock.now = 200, 5010.0
    assert await oidc.principal(token)
    assert idp.fetches == 5


@pytest.mark.parametrize("fault", ["status", "large", "garbage", "deep", "no keys", "symmetric", "another", "silent"])
async def test_an_issuer_that_never_answered_well_makes_it_unavailable(idp: Issuer, clock: Clock, fault: str) -> None:
    match fault:
        case "status":
            idp.status = 302
        case "large":
            idp.answer = b" " * 5000
        case "garbage":
            idp.answer = b"<html>"
        case "deep":
            idp.answer = b"[" * 4000
        case "no keys":
            idp.answer = b'{"keys": {}}'
        case "symmetric":
            idp.answer = json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "rsa-1"}, 7, {}]}).encode()
        case "another":
            idp.claimed = "https://elsewhere.example"
        case "silent":
            idp.silent = True
    oidc = OidcAuthenticator(rules(idp), issuer_keys(idp, clock, timeout=0.2))
    token = idp.token()
    for _ in range(3):
        with pytest.raises(Unavailable) as error:
            await oidc.principal(token)
        assert error.value.retry_after
    assert idp.fetches <= 1
    await oidc.close()


async def test_a_slow_issuer_holds_nobody_up_who_has_a_known_key(idp: Issuer, clock: Clock) -> None:
    oidc = OidcAuthenticator(rules(idp), issuer_keys(idp, clock, address=f"{idp.url}/keys"))
    assert await oidc.principal(idp.token())
    idp.silent = True
    clock.now = 700.0
    began = time.monotonic()
    await settled(oidc, idp.token(), 2, idp)
    assert await oidc.principal(idp.token())
    assert time.monotonic() - began < 1.5  # the fetch that runs has two seconds
    await oidc.close()


def test_a_key_set_gives_only_public_keys_for_signatures() -> None:
    private = {**jwk(EDWARDS, "private"), "d": segment(EDWARDS.private_bytes_raw())}
    found = keys_of(
        {
            "keys": [
                jwk(RSA, "for-all"),
                jwk(RSA, "for-one", alg="PS256"),
                jwk(RSA, "encrypts", use="enc"),
                jwk(RSA, "alg-of-another-kind", alg="ES256"),
                {**jwk(RSA, "x"), "kid": None},
                {**jwk(ELLIPTIC, "broken"), "x": "!"},
                {"kty": ["RSA"], "kid": "odd"},
                {**jwk(RSA, "odd-algorithm"), "alg": ["RS256"]},
                private,
            ]
        }
    )
    assert set(found) == {"for-all", "for-one"}
    assert found["for-one"].algorithms == {"PS256"}
    assert not {name for key in found.values() for name in key.algorithms if name.startswith("HS")}


async def test_keys_and_tokens_are_taken_side_by_side(idp: Issuer, oidc: OidcAuthenticator) -> None:
    both = KeysAndTokens(KnownKeys({"ann-key": Principal("ann", Scope.ADMIN), "a.b.c": Principal("dots", Scope.READ)}), oidc)
    assert await both.principal("ann-key") == Principal("ann", Scope.ADMIN)
    assert await both.principal("a.b.c") == Principal("dots", Scope.READ)
    assert await both.principal(idp.token()) == Principal("oidc:ann", Scope.READ)
    assert await both.principal("unknown") is None
    with pytest.raises(Unauthorized):
        await both.principal(idp.token(OTHER_RSA))
    await both.close()


async def test_the_settings_make_it(idp: Issuer, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, host="0.0.0.0", oidc=OidcSettings(issuer=idp.url, audience=AUDIENCE))
    alone = await asyncio.to_thread(authenticator, settings)
    assert isinstance(alone, OidcAuthenticator)
    assert await alone.principal(idp.token()) == Principal("oidc:ann", Scope.READ)
    await alone.close()
    keys = tmp_path / "keys"
    keys.write_text(f"bob:read:{hashlib.sha256(b'bob-key').hexdigest()}\n")
    both = await asyncio.to_thread(authenticator, settings.model_copy(update={"api_keys_file": keys}))
    assert both is not None
    assert await both.principal("bob-key") == Principal("bob", Scope.READ)
    assert await both.principal(idp.token()) == Principal("oidc:ann", Scope.READ)
    await both.close()


def test_the_form_of_a_token(idp: Issuer) -> None:
    assert is_token("eyJhIjoxfQ.x.y")
    assert not is_token("ragstone_" + "x" * 43)
