"""Prune and purge over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from ragstone.use_cases import retention
from tests.api.conftest import FARES, GUIDE, Api, everything

HANDBOOK = "/v1/collections/handbook"


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "GRACE", 0.0)


async def test_prune_tells_what_goes_and_then_does_it(filled: Api) -> None:
    for number in range(3):
        await filled.ingest({"path": "n.txt", "text": f"Number {number}."})
    before = await everything(filled.platform)
    planned = (await filled.http.post(f"{HANDBOOK}/prune", json={"keep_last": 1, "dry_run": True})).json()
    assert await everything(filled.platform) == before
    assert ([one["position"] for one in planned["pruned"]], [one["position"] for one in planned["kept"]]) == ([1, 2, 3], [4])
    assert planned["points"] == 2
    done = (await filled.http.post(f"{HANDBOOK}/prune", json={"keep_last": 1})).json()
    assert (done["points"], done["dry_run"]) == (2, False)
    log = (await filled.http.get(f"{HANDBOOK}/commits")).json()["commits"]
    assert [one["pruned_at"] is None for one in log] == [True, False, False, False]
    for answer in (
        await filled.http.get(f"{HANDBOOK}/documents", params={"as_of": "#1"}),
        await filled.http.get(f"{HANDBOOK}/commits/{log[-1]['id']}"),
        await filled.http.post("/query", json={"collection": "handbook", "question": "What?", "as_of": log[-1]["id"]}),
        await filled.http.post(f"{HANDBOOK}/tags", json={"name": "v1", "commit": "#1"}),
        await filled.http.post(f"{HANDBOOK}/rollback", json={"to": "#1"}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (410, "urn:ragstone:problem:gone"), answer.text


@pytest.mark.parametrize(
    "body", [{}, {"keep_last": 0}, {"keep_last": "1"}, {"keep_days": -1}, {"keep_last": 1, "keep": 2}, {"keep_last": None}, []]
)
async def test_a_prune_that_names_nothing_is_refused(filled: Api, body: Any) -> None:
    before = await everything(filled.platform)
    answer = await filled.http.post(f"{HANDBOOK}/prune", json=body)
    assert answer.status_code == 422
    assert await everything(filled.platform) == before


async def test_purge_erases_and_leaves_a_record(filled: Api) -> None:
    asked = (await filled.http.post("/query", json={"collection": "handbook", "question": "What does a bicycle ticket cost?"})).json()
    purged = await filled.http.post(f"{HANDBOOK}/purge", json={"path": FARES["path"], "reason": "a letter", "author": "ada"})
    assert purged.status_code == 200, purged.text
    record = purged.json()
    assert (record["state"], record["author"], record["reason"], record["commits"], record["same_content"]) == (
        "done",
        "ada",
        "a letter",
        1,
        [],
    )
    assert (await filled.http.get(f"{HANDBOOK}/purges")).json()["purges"] == [record]
    assert (await filled.http.get(f"{HANDBOOK}/documents/{FARES['path']}", params={"as_of": "#1"})).status_code == 410
    assert (await filled.http.get(f"{HANDBOOK}/documents/{FARES['path']}")).status_code == 410
    assert (await filled.http.get(f"{HANDBOOK}/documents/{GUIDE['path']}", params={"as_of": "#1"})).status_code == 200
    assert "crowns" not in (await filled.http.get(f"/v1/interactions/{asked['id']}")).text


async def test_a_purge_of_nothing_is_refused(filled: Api) -> None:
    before = await everything(filled.platform)
    for path, status in (("nowhere.txt", 404), ("../fares.txt", 422), ("", 422)):
        assert (await filled.http.post(f"{HANDBOOK}/purge", json={"path": path})).status_code == status
    assert (await filled.http.post("/v1/collections/nothing/purge", json={"path": "a"})).status_code == 404
    assert await everything(filled.platform) == before
