"""A server that stops: whoever waits for a job that it will not finish is told so, and the job is not lost."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.api.conftest import FARES, GUIDE, Api


async def waiting(api: Api) -> tuple[asyncio.Task[Any], asyncio.Task[Any], str]:
    """Two clients who wait for one job, an ingestion and a watcher of its events; and the job's id."""

    async def never(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    await api.ingest(GUIDE)
    begun = asyncio.Event()
    api.platform.adapters.parser.parse = never  # type: ignore[method-assign,assignment]  # a document that takes longer than anyone waits
    body = {"collection": "handbook", "documents": [FARES], "wait": True, "timeout": 600}
    ingesting = asyncio.create_task(api.http.post("/ingest", json=body))
    await begun.wait()
    [job, _] = (await api.http.get("/v1/jobs")).json()["jobs"]
    watching = asyncio.create_task(api.http.get(f"/v1/jobs/{job['id']}/events"))
    await asyncio.sleep(0)
    return ingesting, watching, job["id"]


async def test_who_waits_for_a_job_is_answered_and_the_job_stays_queued(api: Api) -> None:
    ingesting, watching, job = await waiting(api)
    await api.platform.drain(0)
    accepted, events = await asyncio.wait_for(asyncio.gather(ingesting, watching), 60)
    assert (accepted.status_code, accepted.headers["location"]) == (202, f"/v1/jobs/{job}")
    assert accepted.json()["job"]["id"] == job
    assert "event: job" not in events.text
    assert events.text.rstrip().endswith("data: [DONE]")
    assert (await api.http.get(f"/v1/jobs/{job}")).json()["job"]["state"] not in ("published", "unchanged", "failed")


async def test_a_request_that_comes_after_it_does_not_wait_at_all(api: Api) -> None:
    await api.ingest(GUIDE)
    await api.platform.drain(0)
    answer = await api.http.post("/ingest", json={"collection": "handbook", "documents": [FARES], "timeout": 600})
    assert (answer.status_code, answer.json()["job"]["state"]) == (202, "queued")
