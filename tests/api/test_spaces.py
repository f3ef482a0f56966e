"""Embedding spaces over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ragstone.settings.model import Settings
from tests.api.conftest import FARES, GUIDE, Api, everything, serve
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.platform import fake_platform

SPACES = "/v1/collections/handbook/spaces"
OTHER = HashingEmbeddingModel(24, revision="2")


@pytest.fixture
async def running(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """An API with two documents in `handbook`, and another model."""
    monkeypatch.setattr("ragstone.use_cases.platform.GRACE", 0.0)
    async with serve(fake_platform(further=(OTHER,)), settings) as running:
        await running.platform.builder.stop()
        await running.ingest(GUIDE, FARES)
        yield running


async def built(api: Api) -> str:
    answer = await api.http.post(SPACES, json={"model": OTHER.identity.digest})
    assert answer.status_code == 202, answer.text
    while await api.platform.builder.tend():
        pass
    space_id: str = answer.json()["space"]["id"]
    return space_id


async def test_a_number_of_workers_needs_a_runner_of_bulk_work(running: Api) -> None:
    refused = await running.http.post(SPACES, json={"model": OTHER.identity.digest, "workers": 4})
    assert (refused.status_code, refused.json()["field"]) == (422, "workers")
    assert (await running.http.post(SPACES, json={"model": OTHER.identity.digest, "workers": 0})).status_code == 422
    assert len((await running.http.get(SPACES)).json()["spaces"]) == 1


async def test_a_space_is_built_switched_to_and_dropped(running: Api) -> None:
    started = (await running.http.post(SPACES, json={"model": OTHER.identity.digest})).json()["space"]
    assert (started["state"], started["build"]["documents_total"], started["model_loaded"]) == ("preparing", 2, True)
    assert (await running.http.post(f"{SPACES}/{started['id']}/switch", json={})).status_code == 409
    space_id = await built(running)
    listed = (await running.http.get(SPACES)).json()["spaces"]
    assert [(one["state"], one["space"]["model"]["revision"]) for one in listed] == [("live", "1"), ("ready", "2")]
    build = listed[1]["build"]
    assert (build["documents"], build["chunks"], build["embedded"], build["seconds_left"]) == (2, build["embedded"], build["chunks"], None)
    old = listed[0]["id"]
    switched = await running.http.post(f"{SPACES}/{space_id[:6]}/switch", json={})
    assert switched.status_code == 200, switched.text
    assert switched.json()["job"]["result"]["position"] == 2
    log = (await running.http.get("/v1/collections/handbook/commits")).json()["commits"]
    assert [(one["position"], one["space_id"]) for one in log] == [(2, space_id), (1, old)]
    assert log[0]["id"] == log[1]["id"] == switched.headers["X-Ragstone-Commit"]
    needed = await running.http.delete(f"{SPACES}/{old}")
    assert (needed.status_code, needed.json()["field"]) == (409, "space")
    await running.http.post("/v1/collections/handbook/prune", json={"keep_last": 1})
    assert (await running.http.delete(f"{SPACES}/{old}")).json()["space"]["state"] == "dropped"
    await running.platform.builder.tend()
    assert [one["state"] for one in (await running.http.get(SPACES)).json()["spaces"]] == ["live"]
    answer = await running.http.post("/query", json={"collection": "handbook", "question": "What does a bicycle ticket cost?"})
    assert answer.json()["passages"][0]["path"] == FARES["path"]


async def test_a_space_that_a_kept_commit_needs_is_dropped_by_force(running: Api) -> None:
    space_id = await built(running)
    old = (await running.http.get(SPACES)).json()["spaces"][0]["id"]
    await running.http.post(f"{SPACES}/{space_id}/switch", json={})
    before = await everything(running.platform)
    for query, status in (("", 409), ("?force=false", 409), ("?force=maybe", 422)):
        assert (await running.http.delete(f"{SPACES}/{old}{query}")).status_code == status
    assert await everything(running.platform) == before
    assert (await running.http.delete(f"{SPACES}/{old}?force=true")).json()["space"]["state"] == "dropped"
    await running.platform.builder.tend()
    question = {"collection": "handbook", "question": "What does a bicycle ticket cost?"}
    gone = await running.http.post("/query", json={**question, "as_of": "#1"})
    assert (gone.status_code, gone.json()["type"], gone.json()["field"]) == (410, "urn:ragstone:problem:gone", "as_of")
    assert gone.json()["detail"].startswith(f"Commit #1 of collection 'handbook' was read from embedding space {old}, which was dropped")
    assert (await running.http.post("/query", json={**question, "as_of": "#2"})).status_code == 200
    documents = await running.http.get("/v1/collections/handbook/documents?as_of=%231")
    assert len(documents.json()["documents"]) == 2
    back = await running.http.post("/v1/collections/handbook/rollback", json={"to": "#1"})
    assert back.json()["job"]["state"] == "unchanged"


async def test_a_build_is_given_up(running: Api) -> None:
    before = await everything(running.platform)
    space_id = await built(running)
    gone = await running.http.delete(f"{SPACES}/{space_id}")
    assert (gone.status_code, gone.json()["space"]["state"]) == (202, "dropped")
    assert (await running.http.post(SPACES, json={"model": OTHER.identity.digest})).status_code == 429
    await running.platform.builder.tend()
    assert len((await running.http.get(SPACES)).json()["spaces"]) == 1
    assert len(await running.platform.adapters.index.names()) == 1
    assert str(before).count("spaces_version=1") == 1


async def test_a_build_is_a_job_from_its_start_on(running: Api) -> None:
    started = (await running.http.post(SPACES, json={"model": OTHER.identity.digest})).json()["space"]
    job_id = started["build"]["job_id"]
    job = await told(running, job_id)
    assert (job["state"], job["space_id"], job["number"], job["result"], job["finished_at"]) == ("queued", started["id"], 0, None, None)
    assert (job["collection"], job["progress"]["phase"], job["progress"]["documents_total"]) == ("handbook", "queued", 2)
    await built(running)
    job = await told(running, job_id)
    assert (job["state"], job["result"]["outcome"], job["result"]["commit_id"]) == ("unchanged", "unchanged", None)
    assert job["finished_at"] > job["created_at"]
    assert (job["progress"]["phase"], job["progress"]["documents"], job["progress"]["seconds_left"]) == ("done", 2, 0.0)
    own = (await running.http.get(SPACES)).json()["spaces"]
    assert [space["build"] and space["build"]["job_id"] for space in own] == [None, job_id]
    assert job["progress"]["embedded"] == own[1]["build"]["embedded"] == job["result"]["stats"]["chunks_embedded"]
    listed = (await running.http.get("/v1/jobs", params={"collection": "handbook", "limit": 1})).json()
    assert (listed["jobs"], listed["next"]) == ([job], job_id)
    [ingested] = (await running.http.get("/v1/jobs", params={"before": job_id})).json()["jobs"]
    assert (ingested["state"], ingested["space_id"]) == ("published", None)


async def test_a_build_that_is_given_up_is_a_failed_job(running: Api) -> None:
    started = (await running.http.post(SPACES, json={"model": OTHER.identity.digest})).json()["space"]
    gone = (await running.http.delete(f"{SPACES}/{started['id']}")).json()["space"]
    await running.platform.builder.tend()
    assert len((await running.http.get(SPACES)).json()["spaces"]) == 1
    job = await told(running, gone["build"]["job_id"])
    assert (job["state"], job["result"]["error_code"], job["result"]["status"]) == ("failed", "gone", 410)
    assert started["id"] in job["result"]["error"]
    last, done = await watched(running, job["id"])
    assert (json.loads(last.partition("data: ")[2])["job"], done) == (job, "data: [DONE]")


async def test_a_build_can_be_watched_to_its_end(running: Api) -> None:
    started = (await running.http.post(SPACES, json={"model": OTHER.identity.digest})).json()["space"]
    running.platform.builder.start()
    *progress, last, done = await watched(running, started["build"]["job_id"])
    await running.platform.builder.stop()
    assert all(event.startswith("event: progress\ndata: ") for event in progress)
    assert last.startswith("event: job\ndata: ")
    job = json.loads(last.partition("data: ")[2])["job"]
    assert (job["id"], job["state"], job["progress"]["documents"]) == (started["build"]["job_id"], "unchanged", 2)
    assert done == "data: [DONE]"


async def told(api: Api, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = (await api.http.get(f"/v1/jobs/{job_id}")).json()["job"]
    assert job["id"] == job_id
    return job


async def watched(api: Api, job_id: str) -> list[str]:
    text = (await api.http.get(f"/v1/jobs/{job_id}/events", timeout=60)).text
    return [event for event in text.strip().replace("\r\n", "\n").split("\n\n") if not event.startswith(":")]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 409),
        ({"model": "absent"}, 422),
        ({"max_tokens": 3}, 422),
        ({"max_tokens": 100_000}, 422),
        ({"max_tokens": "64"}, 422),
        ({"min_tokens": -1}, 422),
        ({"max_tokens": 64, "min_tokens": 65}, 422),
        ({"other": 1}, 422),
        ([], 422),
    ],
)
async def test_a_build_that_cannot_be_is_refused(running: Api, body: object, status: int) -> None:
    before = await everything(running.platform)
    answer = await running.http.post(SPACES, json=body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert await everything(running.platform) == before


async def test_unknown_spaces_and_collections_are_not_found(running: Api) -> None:
    for answer in (
        await running.http.get("/v1/collections/absent/spaces"),
        await running.http.post("/v1/collections/absent/spaces", json={}),
        await running.http.post(f"{SPACES}/absent/switch", json={}),
        await running.http.delete(f"{SPACES}/absent"),
    ):
        assert answer.status_code == 404, answer.text
