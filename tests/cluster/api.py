"""ragstone's API as an application outside the cluster uses it: through the ingress, with a key."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]
_INGEST_LIMIT = 900.0  # seconds
_ORDINARY_LIMIT = 30.0


class Api:
    """A client of one base URL that asks for one host name. Usable from one thread at a time."""

    def __init__(self, base_url: str, host: str, key: str | None) -> None:
        headers = {"Host": host} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=_ORDINARY_LIMIT, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The response, whatever its status."""
        return self._http.request(method, path, **options)

    def get(self, path: str, **query: object) -> Json:
        """Raises `httpx.HTTPStatusError`."""
        response = self._http.get(path, params={name: str(value) for name, value in query.items() if value is not None})
        return _checked(response)

    def post(self, path: str, body: Json, limit: float = _ORDINARY_LIMIT) -> Json:
        """Raises `httpx.HTTPStatusError`."""
        return _checked(self._http.post(path, json=body, timeout=limit))

    def ingest(self, collection: str, folder: Path) -> Json:
        """The collection becomes exactly this folder, in one commit; the finished job. Raises `httpx.HTTPError`."""
        job = self.post("/ingest", _mirror(collection, folder) | {"timeout": _INGEST_LIMIT}, _INGEST_LIMIT)["job"]
        assert job["state"] in ("published", "unchanged"), job
        return dict(job)

    def start_ingest(self, collection: str, folder: Path) -> str:
        """As `ingest`, but returns the accepted job's id at once."""
        return str(self.post("/ingest", _mirror(collection, folder) | {"wait": False}, _INGEST_LIMIT)["job"]["id"])

    def events(self, job: str) -> Iterator[tuple[float, str, Json]]:
        """Seconds since the request, name and data of each event of a job, as they come, to its end."""
        return self._events("GET", f"/v1/jobs/{job}/events")

    def ask(self, collection: str, question: str, **options: object) -> Json:
        """Raises `httpx.HTTPStatusError`."""
        return self.post("/query", {"collection": collection, "question": question, **options})

    def stream(self, collection: str, question: str, **options: object) -> Iterator[tuple[float, str, Json]]:
        """Seconds since the request, name and data of each event of a streamed answer, as they come."""
        return self._events("POST", "/query", json={"collection": collection, "question": question, "stream": True, **options})

    def _events(self, method: str, path: str, **options: Any) -> Iterator[tuple[float, str, Json]]:
        began, name = time.monotonic(), "message"
        with self._http.stream(method, path, timeout=_INGEST_LIMIT, **options) as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data" and value != "[DONE]":
                    yield time.monotonic() - began, name, json.loads(value)

    def passages(self, collection: str, question: str, as_of: str | None = None) -> list[tuple[str, int, str, float]]:
        """What a search finds, without what differs from one collection to the next (ids, commits)."""
        found = self.post("/v1/search", {"collection": collection, "question": question, "as_of": as_of})["passages"]
        return [(one["path"], one["start"], one["text"], one["score"]) for one in found]

    def documents(self, collection: str, as_of: str | None = None) -> dict[str, str]:
        """Checksum by path, of all documents."""
        found: dict[str, str] = {}
        after: str | None = ""
        while after is not None:
            page = self.get(f"/v1/collections/{collection}/documents", after=after, limit=1000, as_of=as_of)
            found |= {one["path"]: one["checksum"] for one in page["documents"]}
            after = page["next"]
        return found


def _mirror(collection: str, folder: Path) -> Json:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    documents = [{"path": path.relative_to(folder).as_posix(), "text": path.read_text("utf-8")} for path in files]
    return {"collection": collection, "create": True, "mirror": True, "message": folder.name, "documents": documents}


def _checked(response: httpx.Response) -> Json:
    if response.is_error:
        raise httpx.HTTPStatusError(f"{response.status_code}: {response.text[:500]}", request=response.request, response=response)
    return dict(response.json())
