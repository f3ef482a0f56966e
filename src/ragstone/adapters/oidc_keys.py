"""The public keys by which an issuer's tokens are told from others: fetched, kept, and looked for again when a token names a new one."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from ragstone.adapters.dependency import Dependency
from ragstone.domain.errors import RagstoneError, Unavailable

_log = logging.getLogger(__name__)
_MOST_KEYS = 100
_AFTER_FAILURE = 5.0  # seconds in which an issuer that did not answer is not asked again
_DISCOVERY = "/.well-known/openid-configuration"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ALGORITHMS: dict[tuple[str, str | None], frozenset[str]] = {  # by kind and curve
    ("RSA", None): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One of the issuer's public keys, and the algorithms that it is for."""

    key: Any
    algorithms: frozenset[str]


class IssuerKeys:
    """The keys of `issuer` by their `kid`, from `address` or, None, from where the issuer's discovery document says.

    Keys that were fetched less than `keep` seconds ago count as they are. Older ones are fetched anew behind the request's back, and go on to count
    while the issuer does not answer; from twice `keep` on the request waits for the answer first. A `kid` that is not among them has the keys
    fetched once in `pause` seconds at most, whoever sends it and however often.
    """

    def __init__(
        self,
        issuer: str,
        address: str | None,
        *,
        keep: float,
        pause: float,
        timeout: float,
        most_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._address = address
        self._keep = keep
        self._pause = pause
        self._most_bytes = most_bytes
        self._clock = clock
        self._dependency = Dependency("identity", timeout=timeout, concurrency=1, translate=_translate)
        self._client = httpx.AsyncClient(timeout=timeout, follow_redirects=False)
        self._keys: dict[str, SigningKey] = {}
        self._fetched: float | None = None
        self._next_fetch = float("-inf")  # not before then
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, kid: str) -> SigningKey | None:
        """The key of this name, None where the issuer has none. Raises `Unavailable` while no key was ever fetched."""
        known = kid in self._keys
        age = float("inf") if self._fetched is None else self._clock() - self._fetched
        if known and age < self._keep:
            return self._keys[kid]
        fetching = self._fetch_soon()
        if fetching is not None and not (known and age < 2 * self._keep):
            await asyncio.wait({fetching})
        if self._fetched is None:
            raise Unavailable("The issuer of tokens did not answer yet; try again.", field="identity", retry_after=_AFTER_FAILURE)
        return self._keys.get(kid)

    async def close(self) -> None:
        """Closes the connections."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self._client.aclose()

    def _fetch_soon(self) -> asyncio.Task[None] | None:
        """The fetch that runs or that may begin now, if any."""
        if self._fetching is None and self._clock() >= self._next_fetch:
            # For everybody who waits, so not within one request's deadline.
            self._fetching = asyncio.create_task(self._fetch(), name="issuer's keys", context=contextvars.Context())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            self._keys = await self._dependency.call(self._read, retry=False)
            self._fetched = self._clock()
            self._next_fetch = self._fetched + self._pause
        except Exception as error:  # whatever it was, it may be over soon
            self._next_fetch = self._clock() + min(_AFTER_FAILURE, self._pause)
            _log.warning("The issuer's keys can't be fetched: %s%s", error, " Those of before stay in force." if self._keys else "")
        finally:
            self._fetching = None

    async def _read(self, _: float) -> dict[str, SigningKey]:
        address = self._address or await self._discovered()
        found = keys_of(await self._json(address))
        if not found:
            raise Unavailable("oidc: the issuer's set of keys holds none that signs; check oidc.jwks_url.", field="identity")
        return found

    async def _discovered(self) -> str:
        document = await self._json(self._issuer.rstrip("/") + _DISCOVERY)
        address = document.get("jwks_uri")
        if document.get("issuer") != self._issuer or not isinstance(address, str) or not is_safe(address):
            raise Unavailable("oidc: the issuer's discovery document is another issuer's or names no place of keys.", field="identity")
        return address

    async def _json(self, address: str) -> dict[str, Any]:
        async with self._client.stream("GET", address, headers={"Accept": "application/json"}) as response:
            if response.status_code != httpx.codes.OK:
                raise Unavailable(f"oidc: the issuer answered with status {response.status_code}.", field="identity")
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > self._most_bytes:
                    raise Unavailable("oidc: the issuer's answer is larger than oidc.max_bytes.", field="identity")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Unavailable("oidc: the issuer's answer is no JSON object.", field="identity")
        return document


def keys_of(document: dict[str, Any]) -> dict[str, SigningKey]:
    """The keys of a JWK set that can check a signature, by `kid`; whatever else there is in it is left out."""
    found: dict[str, SigningKey] = {}
    listed = document.get("keys")
    for form in listed[:_MOST_KEYS] if isinstance(listed, list) else []:
        kid = form.get("kid") if isinstance(form, dict) else None
        if not isinstance(kid, str) or form.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(form)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            continue  # of a kind that is not known here
        fitting = _fitting(form)
        if fitting and not hasattr(key.key, "private_bytes"):
            found[kid] = SigningKey(key.key, fitting)
    return found


def is_safe(address: str) -> bool:
    """Whether what comes from there is what was sent: by https, or from this machine."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return False
    return bool(url.host) and (url.scheme == "https" or (url.scheme == "http" and url.host in _LOOPBACK))


def _fitting(form: dict[str, Any]) -> frozenset[str]:
    """The algorithms that a key may be used with: the one that it names, else all of its kind; never a symmetric one."""
    kind, named = form["kty"], form.get("alg")
    fitting = _ALGORITHMS.get((kind, None if kind == "RSA" else form.get("crv")), frozenset())
    return fitting if named is None else fitting & {named}


def _translate(error: Exception) -> RagstoneError | None:
    if isinstance(error, httpx.TimeoutException):
        return Unavailable("oidc: the issuer did not answer in time.")
    if isinstance(error, (httpx.HTTPError, httpx.InvalidURL)):
        return Unavailable("oidc: the issuer can't be reached.")
    return None
