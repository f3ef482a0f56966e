"""Collections, documents, history, jobs, interactions: reads and writes of single things."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import FARES, GUIDE, Api, everything

HANDBOOK = "/v1/collections/handbook"


async def test_collections_are_made_listed_and_removed(api: Api) -> None:
    made = await api.http.post("/v1/collections", json={"name": "notes", "language": "german", "description": "Mine."})
    assert (made.status_code, made.headers["location"]) == (201, "/v1/collections/notes")
    assert (made.json()["head"], made.json()["documents"], made.json()["language"]) == (None, 0, "german")
    assert (await api.http.post("/v1/collections", json={"name": "notes"})).status_code == 409
    await api.ingest(GUIDE)
    listed = (await api.http.get("/v1/collections")).json()["collections"]
    assert [(one["name"], one["documents"]) for one in listed] == [("handbook", 1), ("notes", 0)]
    assert (await api.http.delete("/v1/collections/notes")).status_code == 204
    assert (await api.http.get("/v1/collections/notes")).status_code == 404


@pytest.mark.parametrize("name", ["", "A", "a_b", "a b", "-a", "a-", "ä", "x" * 64, "..", "a/b", "a\x00"])
async def test_a_bad_collection_name_is_refused(api: Api, name: str) -> None:
    before = await everything(api.platform)
    answer = await api.http.post("/v1/collections", json={"name": name})
    assert (answer.status_code, answer.json()["field"]) == (422, "name")
    assert await everything(api.platform) == before


async def test_documents_are_paged_in_order(api: Api) -> None:
    await api.ingest(*({"path": f"d/{number}.txt", "text": f"Text {number}."} for number in range(5)), FARES)
    first = (await api.http.get(f"{HANDBOOK}/documents", params={"prefix": "d/", "limit": 3})).json()
    assert ([one["path"] for one in first["documents"]], first["next"]) == (["d/0.txt", "d/1.txt", "d/2.txt"], "d/2.txt")
    rest = (await api.http.get(f"{HANDBOOK}/documents", params={"prefix": "d/", "limit": 3, "after": first["next"]})).json()
    assert ([one["path"] for one in rest["documents"]], rest["next"]) == (["d/3.txt", "d/4.txt"], None)


async def test_a_document_in_its_four_forms(filled: Api) -> None:
    path = f"{HANDBOOK}/documents/guide/start.md"
    told = (await filled.http.get(path)).json()
    text = (await filled.http.get(path, params={"form": "text"})).text
    assert (told["title"], told["text"], told["media_type"]) == ("Start", text, "text/markdown")
    chunks = (await filled.http.get(path, params={"form": "chunks"})).json()["chunks"]
    assert all(text[chunk["start"] : chunk["end"]] == chunk["text"] for chunk in chunks)
    assert (await filled.http.get(path, params={"form": "original"})).content == GUIDE["text"].encode()
    assert (await filled.http.get(path, params={"form": "html"})).status_code == 422
    for missing in ("guide", "guide/start.md/x", "%2e%2e%2fetc"):
        assert (await filled.http.get(f"{HANDBOOK}/documents/{missing}")).status_code in (404, 422)


async def test_put_and_delete_make_commits(filled: Api) -> None:
    path = f"{HANDBOOK}/documents/notes/täg.txt"
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Ragstone-Metadata": json.dumps({"team": "ops", "tags": ["a", "b"]})}
    put = await filled.http.put(path, content=b"Some words.", headers=headers, params={"message": "add", "author": "bob"})
    assert put.status_code == 200, put.text
    told = (await filled.http.get(path)).json()
    assert (told["path"], told["metadata"], told["snapshot"]["position"]) == ("notes/täg.txt", {"team": "ops", "tags": ["a", "b"]}, 2)
    commit = (await filled.http.get(f"{HANDBOOK}/commits/head")).json()
    assert (commit["commit"]["message"], commit["commit"]["author"], commit["documents"]) == (
        "add",
        "bob",
        [{"path": "notes/täg.txt", "kind": "added"}],
    )
    stale = commit["parent"]["id"]
    assert (await filled.http.delete(path, headers={"If-Match": stale})).status_code == 412
    assert (await filled.http.delete(path, headers={"If-Match": commit["commit"]["id"]})).status_code == 200
    assert (await filled.http.get(path)).status_code == 404
    assert (await filled.http.get(path, params={"as_of": "#2"})).status_code == 200


@pytest.mark.parametrize("metadata", ["{", "[]", '{"a": null}', '"x"', '{"a": NaN}', "\xff"])
async def test_bad_metadata_in_a_header_is_refused(filled: Api, metadata: str) -> None:
    before = await everything(filled.platform)
    answer = await filled.http.put(
        f"{HANDBOOK}/documents/a.txt", content=b"x", headers=[(b"X-Ragstone-Metadata", metadata.encode("latin-1"))]
    )
    assert answer.status_code == 422
    assert answer.json()["field"].startswith("X-Ragstone-Metadata")
    assert await everything(filled.platform) == before


async def test_a_move_embeds_nothing(filled: Api) -> None:
    answer = await filled.http.post(f"{HANDBOOK}/moves", json={"source": "fares.txt", "target": "prices/fares.txt", "message": "tidy"})
    assert (answer.status_code, answer.json()["job"]["result"]["stats"]["chunks_embedded"]) == (200, 0)
    assert (await filled.http.get(f"{HANDBOOK}/documents/prices/fares.txt")).status_code == 200
    missing = await filled.http.post(f"{HANDBOOK}/moves", json={"source": "nothing.txt", "target": "b.txt"})
    assert missing.status_code >= 400


async def test_history_diff_tags_and_rollback(filled: Api) -> None:
    second = await filled.ingest({"path": "fares.txt", "text": "A bicycle ticket costs nine crowns."})
    log = (await filled.http.get(f"{HANDBOOK}/commits", params={"limit": 1})).json()
    assert [commit["id"] for commit in log["commits"]] == [second["result"]["commit_id"]]
    older = (await filled.http.get(f"{HANDBOOK}/commits", params={"before": log["next"]})).json()
    assert ([commit["position"] for commit in older["commits"]], older["next"]) == ([1], None)
    diff = (await filled.http.get(f"{HANDBOOK}/commits/%231/diff/head")).json()
    assert (diff["documents"], len(diff["chunks_added"]), len(diff["chunks_removed"])) == ([{"path": "fares.txt", "kind": "changed"}], 1, 1)
    made = await filled.http.post(f"{HANDBOOK}/tags", json={"name": "v1", "commit": "#1"})
    assert made.status_code == 201
    assert (await filled.http.post(f"{HANDBOOK}/tags", json={"name": "v1", "commit": "#2"})).status_code == 409
    assert [tag["name"] for tag in (await filled.http.get(f"{HANDBOOK}/tags")).json()["tags"]] == ["v1"]
    back = await filled.http.post(f"{HANDBOOK}/rollback", json={"to": "v1"})
    result = back.json()["job"]["result"]
    assert (back.status_code, result["position"], result["stats"]["chunks_embedded"]) == (200, 3, 0)
    assert "four" in (await filled.http.get(f"{HANDBOOK}/documents/fares.txt")).json()["text"]
    by_time = (await filled.http.get(f"{HANDBOOK}/commits/{log['commits'][0]['created_at']}")).json()
    assert by_time["commit"]["id"] == second["result"]["commit_id"]
    assert (await filled.http.delete(f"{HANDBOOK}/tags/v1")).status_code == 204
    assert (await filled.http.delete(f"{HANDBOOK}/tags/v1")).status_code == 404


@pytest.mark.parametrize(
    ("name", "commit", "status"),
    [("deadbeef", "head", 422), ("a/b", "head", 422), ("", "head", 422), ("v1", "#9", 404), ("v1", "nope", 404)],
)
async def test_bad_tags_are_refused(filled: Api, name: str, commit: str, status: int) -> None:
    before = await everything(filled.platform)
    assert (await filled.http.post(f"{HANDBOOK}/tags", json={"name": name, "commit": commit})).status_code == status
    assert await everything(filled.platform) == before


async def test_a_rollback_to_nowhere_is_refused(filled: Api) -> None:
    before = await everything(filled.platform)
    for to in ("#9", "f" * 40, "nope"):
        assert (await filled.http.post(f"{HANDBOOK}/rollback", json={"to": to})).status_code == 404
    assert await everything(filled.platform) == before


async def test_jobs_are_listed_newest_first(filled: Api) -> None:
    await filled.ingest({"path": "b.txt", "text": "b"})
    page = (await filled.http.get("/v1/jobs", params={"limit": 1})).json()
    assert [job["number"] for job in page["jobs"]] == [2]
    rest = (await filled.http.get("/v1/jobs", params={"before": page["next"], "collection": "handbook"})).json()
    assert ([job["number"] for job in rest["jobs"]], rest["next"]) == ([1], None)
    for path in ("/v1/jobs/none", "/v1/jobs/none/events"):
        assert (await filled.http.get(path)).status_code == 404


async def test_interactions_take_feedback(filled: Api) -> None:
    asked = (await filled.http.post("/query", json={"collection": "handbook", "question": "bicycle ticket"})).json()
    path = f"/v1/interactions/{asked['id']}"
    assert (await filled.http.get(path)).json()["question"] == "bicycle ticket"
    said = await filled.http.post(f"{path}/feedback", json={"thumb": -1, "comment": "No.", "tags": ["wrong"]})
    assert said.status_code == 201
    assert (await filled.http.get(path)).json()["feedback"][0]["thumb"] == -1
    for bad in ({}, {"thumb": 2}, {"score": 1.5}, {"comment": 3}):
        assert (await filled.http.post(f"{path}/feedback", json=bad)).status_code == 422
    assert (await filled.http.post("/v1/interactions/none/feedback", json={"thumb": 1})).status_code == 404
    assert [one["id"] for one in (await filled.http.get("/v1/interactions", params={"collection": "handbook"})).json()["interactions"]] == [
        asked["id"]
    ]


async def test_unknown_paths_and_methods_are_problems(api: Api) -> None:
    missing = await api.http.get("/v2/anything")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:ragstone:problem:not-found")
    method = await api.http.put("/ingest")
    assert (method.status_code, method.headers["allow"], method.json()["field"]) == (405, "POST", "method")
    limit = await api.http.get("/v1/jobs", params={"limit": "many"})
    assert (limit.status_code, limit.json()["field"]) == (422, "limit")


async def test_operation(filled: Api) -> None:
    await filled.http.post("/query", json={"collection": "handbook", "question": "bicycle ticket"})
    assert (await filled.http.get("/healthz")).json() == {"status": "ok"}
    assert (await filled.http.get("/readyz")).json() == {"status": "ready", "degraded": []}
    info = (await filled.http.get("/v1/info")).json()
    assert (info["data_directory"], info["collections"], info["limits"]["top_k"]) == ("data", 1, 100)
    text = (await filled.http.get("/metrics")).text
    for line in (
        'ragstone_http_request_duration_seconds_count{method="POST",route="/query",status="200"} 1.0',
        'ragstone_jobs_total{state="published"} 1.0',
        "ragstone_chunks_embedded_total 2.0",
        "ragstone_interactions_logged_total 1.0",
        'ragstone_collection_documents{collection="handbook"} 2.0',
    ):
        assert line in text
