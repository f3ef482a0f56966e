"""/v1/dead-letters: jobs that were given up, over the fakes; who may see them and decide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.domain.access import Grant, Principal, Scope
from ragstone.domain.errors import Unavailable
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from ragstone.use_cases.platform import Platform
from tests.api.conftest import FARES, GUIDE, Api
from tests.fakes.authenticator import KnownKeys
from tests.fakes.job_queue import InMemoryJobQueue
from tests.fakes.platform import fake_platform

GiveUp = Callable[..., Awaitable[str]]


@pytest.fixture
def give_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> GiveUp:
    """Has a job given up, as while the index is away; returns its id."""

    async def one(*documents: Any, collection: str = "handbook") -> str:
        return await given_up(api, monkeypatch, *documents, collection=collection)

    return one


async def given_up(api: Api, monkeypatch: pytest.MonkeyPatch, *documents: Any, collection: str = "handbook", **headers: str) -> str:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable("the index is away.")

    body = {"collection": collection, "create": True, "documents": list(documents), "wait": False, "message": "spring"}
    with monkeypatch.context() as patched:
        patched.setattr(api.platform.adapters.index, "flush", away)
        job = (await api.http.post("/ingest", json=body, headers=headers)).json()["job"]
        assert (await api.platform.ingest.wait(job["id"], 20)).state == "failed"
    return str(job["id"])


async def settled(platform: Platform) -> None:
    assert isinstance(platform.adapters.queue, InMemoryJobQueue)
    await platform.adapters.queue.settled()


async def test_a_job_that_was_given_up_is_listed_with_its_reason(api: Api, give_up: GiveUp) -> None:
    job = await give_up(GUIDE, FARES)
    [letter] = (await api.http.get("/v1/dead-letters")).json()["dead_letters"]
    assert (letter["job"], letter["collection"], letter["code"], letter["tries"]) == (job, "handbook", "unavailable", 5)
    assert (letter["error"], letter["message"], letter["changes"], letter["worker"]) == ("the index is away.", "spring", 2, "test")
    one = (await api.http.get(f"/v1/dead-letters/{job}")).json()["dead_letter"]
    assert one == letter | {"paths": ["guide/start.md", "fares.txt"]}


async def test_the_list_goes_page_by_page_and_by_collection(api: Api, give_up: GiveUp) -> None:
    jobs = [await give_up({"path": f"{n}.txt", "text": "x"}, collection="ab"[n % 2]) for n in range(3)]
    first = (await api.http.get("/v1/dead-letters", params={"limit": 2})).json()
    assert [one["job"] for one in first["dead_letters"]] == [jobs[2], jobs[1]]
    second = (await api.http.get("/v1/dead-letters", params={"limit": 2, "before": first["next"]})).json()
    assert ([one["job"] for one in second["dead_letters"]], second["next"]) == ([jobs[0]], None)
    only = (await api.http.get("/v1/dead-letters", params={"collection": "b"})).json()
    assert [one["job"] for one in only["dead_letters"]] == [jobs[1]]


async def test_a_replay_publishes_what_was_asked_for_and_the_letter_goes(api: Api, give_up: GiveUp) -> None:
    job = await give_up(FARES)
    answer = await api.http.post(f"/v1/dead-letters/{job}/replay")
    assert answer.status_code == 202
    replayed = answer.json()["job"]
    assert answer.headers["location"] == f"/v1/jobs/{replayed['id']}"
    assert (await api.platform.ingest.wait(replayed["id"], 20)).state == "published"
    assert (await api.http.get("/v1/collections/handbook/documents/fares.txt")).status_code == 200
    await settled(api.platform)
    assert (await api.http.get("/v1/dead-letters")).json() == {"dead_letters": [], "next": None}
    assert (await api.http.post(f"/v1/dead-letters/{job}/replay")).status_code == 404
    assert await api.platform.adapters.staging.jobs() == []


async def test_a_replay_whose_bytes_are_lost_says_so(api: Api, give_up: GiveUp) -> None:
    job = await give_up(FARES)
    await api.platform.adapters.staging.discard(job)
    answer = await api.http.post(f"/v1/dead-letters/{job}/replay")
    assert (answer.status_code, "send the documents again" in answer.json()["detail"]) == (410, True)


async def test_a_discarded_letter_goes_with_its_bytes(api: Api, give_up: GiveUp) -> None:
    job = await give_up(FARES)
    assert (await api.http.delete(f"/v1/dead-letters/{job}")).status_code == 204
    assert (await api.http.delete(f"/v1/dead-letters/{job}")).status_code == 404
    assert (await api.http.get(f"/v1/dead-letters/{job}")).status_code == 404
    assert (await api.http.get(f"/v1/jobs/{job}")).json()["job"]["state"] == "failed"
    assert await api.platform.adapters.staging.jobs() == []


@pytest.fixture
async def keyed() -> AsyncIterator[Api]:
    """Callers with an admin's rights everywhere, in `handbook`, in `other`; and one who may only read and write."""
    keys = {
        "all": Principal("all", Scope.ADMIN),
        "handbook": Principal("handbook", grants=(Grant("handbook", Scope.ADMIN),)),
        "other": Principal("other", grants=(Grant("other", Scope.ADMIN),)),
        "writer": Principal("writer", Scope.WRITE, (Grant("other", Scope.ADMIN),)),
    }
    platform = fake_platform()
    await platform.start()
    app = create_app(platform, Settings(data_dir=Path("data")), KnownKeys(keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://rag.example.org") as http:
        yield Api(http, platform)
    await platform.adapters.queue.stop(1)


async def test_only_the_collection_s_admins_see_and_decide(keyed: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await given_up(keyed, monkeypatch, FARES, Authorization="Bearer all")

    async def statuses(key: str, *requests: tuple[str, str]) -> list[int]:
        headers = {"Authorization": f"Bearer {key}"}
        return [(await keyed.http.request(method, f"/v1/dead-letters{path}", headers=headers)).status_code for method, path in requests]

    requests = [("GET", ""), ("GET", "?collection=handbook"), ("GET", f"/{job}"), ("POST", f"/{job}/replay"), ("DELETE", f"/{job}")]
    assert await statuses("other", *requests) == [403, 404, 404, 404, 404]  # may not know of it
    assert await statuses("writer", *requests) == [403, 403, 403, 403, 403]
    assert await statuses("handbook", *requests[:3]) == [403, 200, 200]
    assert await statuses("all", *requests[:3]) == [200, 200, 200]
    unknown = await keyed.http.get("/v1/dead-letters/01x", headers={"Authorization": "Bearer other"})
    hidden = await keyed.http.get(f"/v1/dead-letters/{job}", headers={"Authorization": "Bearer other"})
    assert unknown.json()["detail"].replace("01x", job) == hidden.json()["detail"]
    assert await statuses("handbook", requests[3]) == [202]
