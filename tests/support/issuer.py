"""An issuer of tokens on loopback: its keys are made here, its discovery document and key set are served by a plain socket."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "ragstone"
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()


def jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    """The public half as a JSON Web Key."""
    kind: Any = (
        RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else OKPAlgorithm
    )
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


class Issuer:
    """`keys` is what its key set holds, `answer` what it says in place of that; `fetches` counts the looks at its key set."""

    def __init__(self) -> None:
        self.url = ""
        self.keys = [jwk(RSA, "rsa-1", use="sig"), jwk(ELLIPTIC, "ec-1"), jwk(EDWARDS, "ed-1")]
        self.claimed: str | None = None  # in its discovery document, where it is not its own address
        self.answer: bytes | None = None
        self.status = 200
        self.silent = False
        self.fetches = 0
        self.fetched = asyncio.Condition()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Of a good token; None takes one away."""
        now = int(time.time())
        all_ = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "iat": now, "nbf": now, "exp": now + 600, "scope": "openid ragstone:read"}
        return {name: value for name, value in {**all_, **changed}.items() if value is not None}

    def token(self, key: Any = RSA, kid: str | None = "rsa-1", algorithm: str = "RS256", **changed: Any) -> str:
        """A token, signed."""
        return jwt.encode(self.claims(**changed), key, algorithm, headers={"kid": kid} if kid is not None else {})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            if path == "/keys":
                async with self.fetched:
                    self.fetches += 1
                    self.fetched.notify_all()
            if self.silent:
                await reader.read()
                return
            if path == "/keys":
                body = self.answer if self.answer is not None else json.dumps({"keys": self.keys}).encode()
            else:
                body = json.dumps({"issuer": self.claimed or self.url, "jwks_uri": f"{self.url}/keys"}).encode()
            head = f"HTTP/1.1 {self.status} Whatever\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def issuer() -> AsyncIterator[Issuer]:
    """One that answers until the end."""
    made = Issuer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


def segment(value: object) -> str:
    """One part of a token."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
