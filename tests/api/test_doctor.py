"""POST /v1/doctor."""

from __future__ import annotations

import json

from ragstone.services.orchestrator.schemas.doctor import CheckProgress, CheckReport
from tests.api.conftest import Api
from tests.fakes.vector_index import InMemoryVectorIndex


def lose_a_point(api: Api) -> None:
    index = api.platform.adapters.index
    assert isinstance(index, InMemoryVectorIndex)
    ((_, held),) = index._indexes.items()
    del held.points[sorted(held.points)[0]]


async def test_a_healthy_platform_is_said_to_be(filled: Api) -> None:
    answer = await filled.http.post("/v1/doctor", json={})
    assert answer.status_code == 200
    report = CheckReport.model_validate(answer.json())
    assert (report.healthy, report.findings, report.collections, report.commits, report.documents) == (True, [], 1, 1, 2)


async def test_damage_is_told_and_repaired_when_asked(filled: Api) -> None:
    lose_a_point(filled)
    told = CheckReport.model_validate((await filled.http.post("/v1/doctor", json={"collection": "handbook"})).json())
    assert (told.healthy, [finding.kind for finding in told.findings]) == (False, ["missing-points"])
    mended = CheckReport.model_validate((await filled.http.post("/v1/doctor", json={"repair": True})).json())
    assert (mended.healthy, [finding.repaired for finding in mended.findings]) == (True, [True])
    assert (await filled.http.post("/v1/doctor", json={})).json()["findings"] == []


async def test_progress_comes_as_events(filled: Api) -> None:
    lose_a_point(filled)
    answer = await filled.http.post("/v1/doctor", json={"repair": True}, headers={"Accept": "text/event-stream"})
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in answer.text.replace("\r\n", "\n").strip().split("\n\n")]
    *progress, report, done = events
    assert done == {"data": "[DONE]"}
    assert CheckReport.model_validate(json.loads(report["data"])).healthy
    assert {each["event"] for each in progress} == {"progress"}
    for each in progress:
        CheckProgress.model_validate(json.loads(each["data"]))


async def test_an_unknown_collection_and_an_unknown_field_are_refused(filled: Api) -> None:
    for headers in ({}, {"Accept": "text/event-stream"}):
        assert (await filled.http.post("/v1/doctor", json={"collection": "absent"}, headers=headers)).status_code == 404
    assert (await filled.http.post("/v1/doctor", json={"force": True})).status_code == 422
