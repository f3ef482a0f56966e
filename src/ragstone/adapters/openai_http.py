"""What the clients of models behind HTTP share: the key, the address, answers that count against an endpoint, and what of an error may be passed on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator

import httpx

from ragstone.domain.errors import InvalidInput, Unavailable

CONNECT = 2.0  # seconds for a connection, and for a place among those there may be
OF_THE_REQUEST = frozenset({400, 413, 422})  # statuses that say nothing against the endpoint
HINTS = {401: "; check its API key", 403: "; check its API key", 404: "; check its base URL and model"}
_ERROR_BYTES = 2**16  # of an error's body that are read
_CODE = re.compile(r"[a-z][a-z0-9_]{1,47}")


class Failed(Exception):
    """What the endpoint answered counts against it; `error` is what callers get."""

    def __init__(self, error: Unavailable) -> None:
        super().__init__(error.message)
        self.error = error


class Bearer(httpx.Auth):
    """The key of now."""

    def __init__(self, api_key: Callable[[], str]) -> None:
        self._api_key = api_key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Puts it into the Authorization header, and nowhere else."""
        request.headers["Authorization"] = f"Bearer {self._api_key()}"
        yield request


def new_client(address: httpx.URL, api_key: Callable[[], str] | None, connections: int) -> httpx.AsyncClient:
    """A client for one endpoint. How long a call may take is its caller's business."""
    return httpx.AsyncClient(
        auth=Bearer(api_key) if api_key else None,
        timeout=httpx.Timeout(None, connect=CONNECT, pool=CONNECT),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        verify=address.scheme != "http",  # without TLS there are no certificates to load, which takes most of a second
    )


def checked_address(base_url: str, setting: str) -> httpx.URL:
    """The base URL. Raises `InvalidInput` naming the setting where it is none or holds a password."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise InvalidInput(
            f"{setting}: it must be an http or https address such as http://127.0.0.1:8080/v1, without user, password or query.",
            field=setting,
        )
    return url


async def error_code(response: httpx.Response) -> str:
    """`error.code` or `error.type` of the body in brackets, if it is one plain word: the rest may repeat the request or the key."""
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _ERROR_BYTES:
            return ""
    try:
        error = json.loads(body)["error"]
        codes = [error.get("code"), error.get("type")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return next((f" ({code})" for code in codes if isinstance(code, str) and _CODE.fullmatch(code)), "")


def retry_after(response: httpx.Response) -> float | None:
    """Seconds; the form with a date is ignored."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() and len(value) <= 6 else None
