"""The HTTP contract as the commands use it. Every command goes through here, wherever the API runs."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import httpx

from ragstone.cli.api import Json, ProblemError, ServerEvent

_NO_READ_LIMIT = httpx.Timeout(30.0, read=None)


class Client:
    """Requests by path; answers as JSON. Raises `ProblemError`."""

    def __init__(self, http: httpx.AsyncClient, *, remote: bool) -> None:
        self._http = http
        self.remote = remote  # the work goes on when this process ends

    async def get(self, path: str, /, **query: object) -> Json:
        """GET; None values are left out of the query."""
        return _object(await self._request("GET", path, params=_given(query)))

    async def content(self, path: str, /, **query: object) -> bytes:
        """GET of a body that is not JSON."""
        return (await self._request("GET", path, params=_given(query))).content

    async def post(self, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str] | None = None) -> Json:
        """POST of JSON; None values are left out."""
        return _object(await self._request("POST", path, json=_given(body), headers=headers))

    async def put(self, path: str, body: Mapping[str, Any]) -> Json:
        """PUT of JSON."""
        return _object(await self._request("PUT", path, json=body))

    async def upload(self, path: str, body: AsyncIterator[bytes], content_type: str, headers: Mapping[str, str]) -> Json:
        """POST of a streamed body."""
        return _object(await self._request("POST", path, content=body, headers={**headers, "Content-Type": content_type}))

    async def delete(self, path: str) -> Json:
        """DELETE; an answer without a body is {}."""
        return _object(await self._request("DELETE", path))

    async def events(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> AsyncGenerator[ServerEvent, None]:
        """The events of a stream up to `[DONE]`; an `error` event raises."""
        headers = {"Accept": "text/event-stream"}
        try:
            async with self._http.stream(
                method, path, json=_given(body) if body else None, headers=headers, timeout=_NO_READ_LIMIT
            ) as response:
                if response.is_error:
                    await response.aread()
                    raise ProblemError(_problem(response))
                async for event in parse_events(response.aiter_lines()):
                    if event.name == "error":
                        raise ProblemError(event.data.get("problem", event.data))
                    yield event
        except httpx.HTTPError as error:
            raise ProblemError(_unreachable(self._http, error)) from error

    async def download(self, method: str, path: str, /, **query: object) -> AsyncGenerator[bytes, None]:
        """The bytes of a large answer, as they come. Raises `ProblemError` also when it breaks off."""
        try:
            async with self._http.stream(method, path, params=_given(query), timeout=_NO_READ_LIMIT) as response:
                if response.is_error:
                    await response.aread()
                    raise ProblemError(_problem(response))
                async for piece in response.aiter_raw():
                    yield piece
        except httpx.HTTPError as error:
            raise ProblemError(_unreachable(self._http, error)) from error

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, timeout=_NO_READ_LIMIT, **options)
        except httpx.HTTPError as error:
            raise ProblemError(_unreachable(self._http, error)) from error
        if response.is_error:
            raise ProblemError(_problem(response))
        return response


async def parse_events(lines: AsyncIterator[str]) -> AsyncIterator[ServerEvent]:
    """Reads an event stream (HTML standard, section 9.2) whose data are JSON objects, up to `[DONE]`."""
    name, data = "message", list[str]()
    async for line in lines:
        if not line:
            joined = "\n".join(data)
            if joined == "[DONE]":
                return
            if data and isinstance(value := json.loads(joined), dict):
                yield ServerEvent(name, value)
            name, data = "message", []
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _object(response: httpx.Response) -> Json:
    if not response.content:
        return {}
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ProblemError(
            _made_up(502, "Not ragstone", f"{response.url.host} answered with something that is not ragstone's; check --server.")
        )
    return value


def _problem(response: httpx.Response) -> Json:
    try:
        value = response.json()
    except ValueError:
        value = None
    if isinstance(value, dict) and ("detail" in value or "title" in value):
        return {"status": response.status_code} | value
    return _made_up(
        response.status_code, response.reason_phrase or "Error", f"The server answered {response.status_code} without a reason."
    )


def _unreachable(http: httpx.AsyncClient, error: httpx.HTTPError) -> Json:
    address = f"{http.base_url.scheme}://{http.base_url.netloc.decode()}"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return _made_up(503, "Unavailable", f"No server answers at {address}; start one with `ragstone up`, or check --server.")
    return _made_up(503, "Unavailable", f"The connection to {address} broke ({type(error).__name__}); try again.")


def _made_up(status: int, title: str, detail: str) -> Json:
    return {"type": "urn:ragstone:problem:unavailable", "title": title, "status": status, "detail": detail}
