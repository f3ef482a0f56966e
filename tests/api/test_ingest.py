"""POST /ingest: what it does, and what it refuses."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ragstone.settings.model import Settings
from ragstone.use_cases.limits import Limits
from tests.api.conftest import FARES, GUIDE, Api, everything, serve
from tests.fakes.platform import fake_platform


async def test_documents_become_one_commit_and_the_same_again_none(api: Api) -> None:
    first = await api.ingest(GUIDE, FARES, message="Begin", author="ann")
    assert (first["state"], first["result"]["position"], first["result"]["stats"]["documents_added"]) == ("published", 1, 2)
    head = await api.head()
    assert head is not None
    assert (head.id, head.message, head.author) == (first["result"]["commit_id"], "Begin", "ann")
    again = await api.ingest(GUIDE, FARES)
    assert (again["state"], again["result"]["commit_id"], again["result"]["stats"]["chunks_embedded"]) == ("unchanged", head.id, 0)


async def test_base64_brings_the_bytes_as_they_are(api: Api) -> None:
    content = b"caf\xc3\xa9\r\n"
    await api.ingest({"path": "a.txt", "content_base64": base64.b64encode(content).decode()})
    original = await api.http.get("/v1/collections/handbook/documents/a.txt", params={"form": "original"})
    assert original.content == content


async def test_a_form_brings_files_under_their_paths(api: Api) -> None:
    files = [
        ("file", ("guide/Überfahrt 1.md", "# Überfahrt\n\nMit der Fähre.".encode(), "text/markdown")),
        ("file", ("a/b.txt", b"plain", "application/octet-stream")),
    ]
    fields = {
        "options": json.dumps({"create": True, "message": "form"}),
        "collection": "handbook",
        "metadata": '{"a/b.txt": {"team": "ops"}}',
    }
    answer = await api.http.post("/ingest", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    listed = (await api.http.get("/v1/collections/handbook/documents")).json()["documents"]
    assert [(one["path"], one["media_type"], one["metadata"]) for one in listed] == [
        ("a/b.txt", "text/plain", {"team": "ops"}),
        ("guide/Überfahrt 1.md", "text/markdown", {}),
    ]


async def test_deletes_moves_and_mirror(filled: Api) -> None:
    await filled.ingest(deletes=["fares.txt"], moves=[{"source": "guide/start.md", "target": "guide/begin.md"}])
    listed = (await filled.http.get("/v1/collections/handbook/documents")).json()["documents"]
    assert [one["path"] for one in listed] == ["guide/begin.md"]
    job = await filled.ingest(FARES, mirror=True)
    assert job["result"]["stats"]["documents_removed"] == 1
    await filled.ingest(GUIDE, deletes=[{"prefix": "fa"}])
    listed = (await filled.http.get("/v1/collections/handbook/documents")).json()["documents"]
    assert [one["path"] for one in listed] == ["guide/start.md"]


async def test_a_dry_run_tells_and_changes_nothing(filled: Api) -> None:
    before = await everything(filled.platform)
    body = {
        "collection": "handbook",
        "documents": [{"path": "new.txt", "text": "Something new."}],
        "deletes": ["fares.txt"],
        "dry_run": True,
    }
    answer = await filled.http.post("/ingest", json=body)
    plan = answer.json()["plan"]
    assert (plan["added"], plan["removed"], plan["chunks_to_embed"], plan["failures"]) == (["new.txt"], ["fares.txt"], 1, [])
    assert await everything(filled.platform) == before


async def test_without_waiting_the_job_is_told_and_can_be_watched(api: Api) -> None:
    body = {"collection": "handbook", "create": True, "documents": [GUIDE], "wait": False}
    answer = await api.http.post("/ingest", json=body)
    assert answer.status_code == 202
    job = answer.json()["job"]
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    events = (await api.http.get(f"/v1/jobs/{job['id']}/events")).text
    last = events.strip().replace("\r\n", "\n").split("\n\n")[-2:]
    assert last[0].startswith("event: job\ndata: ")
    assert json.loads(last[0].partition("data: ")[2])["job"]["state"] == "published"
    assert last[1] == "data: [DONE]"
    assert (await api.http.get(f"/v1/jobs/{job['id']}")).json()["job"]["result"]["outcome"] == "published"


async def test_a_key_makes_a_request_once_and_refuses_another_body(api: Api) -> None:
    await api.http.post("/v1/collections", json={"name": "handbook"})
    body = {"collection": "handbook", "documents": [GUIDE]}
    first = await api.http.post("/ingest", json=body, headers={"Idempotency-Key": "k1"})
    again = await api.http.post("/ingest", json=body, headers={"Idempotency-Key": "k1"})
    assert first.json()["job"]["id"] == again.json()["job"]["id"]
    other = await api.http.post("/ingest", json={**body, "documents": [FARES]}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")
    assert other.json()["type"] == "urn:ragstone:problem:idempotency-key-reused"


async def test_if_match_names_the_head(filled: Api) -> None:
    head = await filled.head()
    assert head is not None
    body = {"collection": "handbook", "documents": [{"path": "x.txt", "text": "x"}]}
    before = await everything(filled.platform)
    for wrong in ('""', f'"{"0" * 40}"', "*"):
        refused = await filled.http.post("/ingest", json=body, headers={"If-Match": wrong})
        assert (refused.status_code, refused.json()["field"]) == (422 if wrong == "*" else 412, "If-Match")
    assert await everything(filled.platform) == before
    assert (await filled.http.post("/ingest", json=body, headers={"If-Match": f'"{head.id}"'})).status_code == 200
    other = {**body, "documents": [{"path": "y.txt", "text": "y"}]}  # the head moved, but this does not touch x.txt
    now = (await filled.http.post("/ingest", json=other, headers={"If-Match": head.id})).json()["job"]["result"]
    conflict = {**body, "documents": [{"path": "x.txt", "text": "otherwise"}]}
    for key in ({}, {"Idempotency-Key": "k"}):  # refused at once, and by the job
        refused = (await filled.http.post("/ingest", json=conflict, headers={"If-Match": head.id, **key})).json()
        assert refused["status"] == 412
        assert refused["head"] == {"id": now["commit_id"], "position": now["position"], "seq": now["seq"]}
        assert refused["conflicts"] == {"paths": ["x.txt"], "count": 1}
    exact = {**other, "documents": [{"path": "z.txt", "text": "z"}], "exact_head": True}
    assert (await filled.http.post("/ingest", json=exact, headers={"If-Match": head.id})).status_code == 412
    rollback = await filled.http.post("/v1/collections/handbook/rollback", json={"to": "head"}, headers={"If-Match": head.id})
    assert rollback.status_code == 412
    empty = {"collection": "other", "create": True, "documents": [GUIDE]}
    assert (await filled.http.post("/ingest", json=empty, headers={"If-Match": '""'})).status_code == 200


async def test_one_bad_document_is_told_and_the_others_come_in(api: Api) -> None:
    bad = {"path": "bad.md", "content_base64": base64.b64encode(b"\xff\xfe\x00").decode()}
    documents = [{"path": f"{number}.txt", "text": f"Number {number}."} for number in range(20)]
    job = await api.ingest(*documents[:7], bad, *documents[7:])
    assert job["result"]["stats"]["documents_added"] == 20
    assert [failure["path"] for failure in job["result"]["failures"]] == ["bad.md"]


async def test_strict_makes_a_bad_document_fatal(filled: Api) -> None:
    before = await filled.head()
    bad = {"path": "bad.md", "content_base64": base64.b64encode(b"\xff\xfe\x00").decode()}
    answer = await filled.http.post(
        "/ingest", json={"collection": "handbook", "documents": [bad, {"path": "a.txt", "text": "a"}], "strict": True}
    )
    assert (answer.status_code, answer.json()["field"], answer.json()["failures"][0]["path"]) == (422, "bad.md", "bad.md")
    assert await filled.head() == before


BAD_DOCUMENTS: list[tuple[dict[str, Any], int, str]] = [
    ({"path": "../etc/passwd", "text": "x"}, 422, "../etc/passwd"),
    ({"path": "a/../b.txt", "text": "x"}, 422, "a/../b.txt"),
    ({"path": "/abs.txt", "text": "x"}, 422, "/abs.txt"),
    ({"path": "a\x00b.txt", "text": "x"}, 422, "a\x00b.txt"),
    ({"path": "x" * 5000, "text": "x"}, 422, "x" * 200),
    ({"path": "", "text": "x"}, 422, ""),
    ({"path": "a.txt", "text": ""}, 422, "a.txt"),
    ({"path": "a.txt", "content_base64": "###"}, 422, "a.txt"),
    ({"path": "a.txt"}, 422, "documents.0"),
    ({"path": "a.txt", "text": "x", "content_base64": "eA=="}, 422, "documents.0"),
    ({"path": "a.txt", "text": "x", "metadata": {"k": None}}, 422, "documents.0.metadata.k"),
    ({"path": "a.txt", "text": "x", "metadata": {"no spaces": 1}}, 422, "a.txt"),
    ({"path": "a.txt", "text": "x", "metadata": {"big": 2**70}}, 422, "a.txt"),
    ({"path": "a.txt", "text": "x", "metadata": {"long": "y" * 20_000}}, 413, "a.txt"),
    ({"path": "a.txt", "text": "x", "unknown": 1}, 422, "documents.0.unknown"),
    ({"path": 7, "text": "x"}, 422, "documents.0.path"),
]


@pytest.mark.parametrize(("document", "status", "field"), BAD_DOCUMENTS)
async def test_a_bad_document_is_refused_by_name_and_nothing_changes(
    filled: Api, document: dict[str, Any], status: int, field: str
) -> None:
    before = await everything(filled.platform)
    for collection in ("handbook", "new-one"):
        answer = await filled.http.post("/ingest", json={"collection": collection, "create": True, "documents": [document]})
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["field"].startswith(field), answer.text
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert await everything(filled.platform) == before


BAD_BODIES: list[tuple[bytes, str]] = [
    (b"", "body"),
    (b"{", "body"),
    (b"\xff\xfe{}", "body"),
    (b'{"collection": "h\xe9"}', "body"),
    (b'{"collection": "\\ud800"}', "body"),
    (b'{"collection": "handbook", "timeout": NaN}', "body"),
    (b'{"collection": "handbook", "timeout": 1e999}', "timeout"),
    (b"[" * 100_000, "body"),
    (b'{"collection": ' + b"9" * 10_000 + b"}", "body"),
    (b'{"collection": 5}', "collection"),
    (b"[]", "body"),
    (b'"text"', "body"),
    (b'{"collection": "handbook"}', "documents"),
    (b'{"collection": "Hand_Book!", "documents": [{"path": "a", "text": "b"}]}', "collection"),
    (b'{"documents": [{"path": "a", "text": "b"}]}', "collection"),
    (b'{"collection": "handbook", "deletes": ["../x"]}', "deletes.path"),
    (b'{"collection": "handbook", "moves": [{"source": "a", "target": "b/../c"}]}', "moves.target"),
    (b'{"collection": "handbook", "wait": "yes", "documents": []}', "wait"),
]


@pytest.mark.parametrize(("body", "field"), BAD_BODIES)
async def test_a_bad_body_is_refused_by_field_and_nothing_changes(filled: Api, body: bytes, field: str) -> None:
    before = await everything(filled.platform)
    answer = await filled.http.post("/ingest", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field, answer.text
    assert await everything(filled.platform) == before


async def test_an_unknown_collection_is_named(api: Api) -> None:
    answer = await api.http.post("/ingest", json={"collection": "nowhere", "documents": [GUIDE]})
    assert (answer.status_code, answer.json()["field"]) == (404, "collection")
    assert "nowhere" in answer.json()["detail"]


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_only_json_and_forms_are_read(api: Api, media_type: str) -> None:
    answer = await api.http.post("/ingest", content=b"{}", headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["field"]) == (415, "Content-Type")


async def test_sizes_are_bounded_while_the_body_arrives(settings: Settings) -> None:
    limits = Limits(document_bytes=1000, request_bytes=4000, documents=3)
    async with serve(fake_platform(limits=limits), settings) as api:
        sent = 0

        async def endless() -> Any:
            nonlocal sent
            while sent < 100_000:
                sent += 1000
                yield b" " * 1000

        headers = {"Content-Type": "application/json"}
        answer = await api.http.post("/ingest", content=endless(), headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (413, "body")
        assert sent < 20_000
        declared = await api.http.post("/ingest", content=b"{}", headers={**headers, "Content-Length": str(200 * 2**20)})
        assert declared.status_code == 413
        form = {"content": endless(), "headers": {"Content-Type": "multipart/form-data; boundary=b"}}
        assert (await api.http.post("/ingest", **form)).status_code in (413, 422)
        files = [("f", (f"{number}.txt", b"text", "text/plain")) for number in range(4)]
        many = await api.http.post("/ingest", data={"collection": "handbook"}, files=files)
        assert (many.status_code, many.json()["field"]) == (413, "documents")
        large = await api.http.post(
            "/ingest", json={"collection": "handbook", "create": True, "documents": [{"path": "a.txt", "text": "x" * 1001}]}
        )
        assert (large.status_code, large.json()["field"]) == (413, "a.txt")
        put = await api.http.put("/v1/collections/handbook/documents/a.txt", content=b"x" * 1001)
        assert (put.status_code, put.json()["field"]) == (413, "a.txt")
        assert await api.platform.adapters.staging.jobs() == []


BAD_FORMS: list[tuple[bytes, str]] = [
    (b"", "body"),
    (b"--b--\r\n", "collection"),
    (b"nothing of a form", "body"),
    (b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\ncut off', "body"),
    (b'--b\r\nContent-Disposition: form-data; name="strange"\r\n\r\nx\r\n--b--\r\n', "strange"),
    (b"--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n--b--\r\n", "body"),
    (b'--b\r\nContent-Disposition: form-data; name="f"; filename="\xff\xfe.txt"\r\n\r\nx\r\n--b--\r\n', "filename"),
    (b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n{"documents": []}\r\n--b--\r\n', "documents"),
    (b'--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n{not json\r\n--b--\r\n', "body"),
]


@pytest.mark.parametrize(("body", "field"), BAD_FORMS)
async def test_a_bad_form_is_refused_by_field(filled: Api, body: bytes, field: str) -> None:
    before = await everything(filled.platform)
    answer = await filled.http.post("/ingest", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert await everything(filled.platform) == before


async def test_a_path_out_of_the_collection_is_refused_in_a_form_too(filled: Api) -> None:
    answer = await filled.http.post("/ingest", data={"collection": "handbook"}, files=[("f", ("../../etc/passwd", b"x", "text/plain"))])
    assert (answer.status_code, answer.json()["field"]) == (422, "../../etc/passwd")


async def test_metadata_of_a_file_that_is_not_there_is_refused(filled: Api) -> None:
    fields = {"collection": "handbook", "metadata": '{"b.txt": {"k": 1}}'}
    answer = await filled.http.post("/ingest", data=fields, files=[("f", ("a.txt", b"x", "text/plain"))])
    assert (answer.status_code, answer.json()["field"]) == (422, "metadata")
