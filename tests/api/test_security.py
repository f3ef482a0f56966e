"""What a server on loopback refuses without keys: foreign names, foreign pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.settings.model import Settings
from tests.api.conftest import Api, everything, serve
from tests.fakes.platform import fake_platform

WRITE = {"collection": "stolen", "create": True, "documents": [{"path": "a.txt", "text": "a"}]}


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "127.0.0.2", "localhost:x", "", "[::2]:80", "a@localhost"]
)
async def test_a_foreign_host_is_refused(filled: Api, host: str) -> None:
    before = await everything(filled.platform)
    for path in ("/healthz", "/v1/collections", "/nothing", "/docs"):
        assert (await filled.http.get(path, headers={"Host": host})).status_code == 403
    answer = await filled.http.post("/ingest", json=WRITE, headers={"Host": host})
    assert (answer.status_code, answer.json()["field"], answer.json()["type"]) == (403, "Host", "urn:ragstone:problem:forbidden")
    assert await everything(filled.platform) == before


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8642", "[::1]:8642"])
async def test_loopback_names_are_answered(filled: Api, host: str) -> None:
    assert (await filled.http.get("/healthz", headers={"Host": host})).status_code == 200


async def test_a_host_of_the_settings_is_answered(tmp_path: Path) -> None:
    async with serve(fake_platform(), Settings(data_dir=tmp_path, allowed_hosts=("Rag.internal",))) as api:
        assert (await api.http.get("/healthz", headers={"Host": "rag.internal:80"})).status_code == 200
        assert (await api.http.get("/healthz", headers={"Host": "other.internal"})).status_code == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "https://localhost:8642", "http://127.0.0.1:8642", ""]
)
async def test_another_origin_is_refused_for_every_method(filled: Api, origin: str) -> None:
    before = await everything(filled.platform)
    for method, path in (
        ("GET", "/v1/interactions"),
        ("POST", "/ingest"),
        ("PUT", "/v1/collections/handbook/documents/a.txt"),
        ("OPTIONS", "/ingest"),
    ):
        answer = await filled.http.request(method, path, headers={"Origin": origin}, json=WRITE if method == "POST" else None)
        assert (answer.status_code, answer.json()["field"]) == (403, "Origin")
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert await everything(filled.platform) == before


async def test_the_own_origin_is_answered_without_cors(filled: Api) -> None:
    answer = await filled.http.get("/v1/collections", headers={"Origin": "http://localhost:8642", "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_requests_of_foreign_pages_without_origin_are_refused_but_a_link_to_the_docs_works(filled: Api) -> None:
    for site in ("cross-site", "same-site"):
        assert (await filled.http.get("/v1/collections", headers={"Sec-Fetch-Site": site})).status_code == 403
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        assert (await filled.http.get("/docs", headers=link)).status_code == 200
        assert (await filled.http.get("/v1/collections", headers=link)).status_code == 403
    assert (await filled.http.get("/v1/collections", headers={"Sec-Fetch-Site": "none"})).status_code == 200


async def test_answers_carry_safe_headers_and_the_request_id(filled: Api) -> None:
    for path in ("/healthz", "/nothing", "/v1/collections", "/v1/collections/handbook/documents/fares.txt?form=original"):
        headers = (await filled.http.get(path, headers={"X-Request-Id": "abc-1"})).headers
        assert (headers["x-content-type-options"], headers["cache-control"], headers["x-request-id"]) == ("nosniff", "no-store", "abc-1")
        assert headers["content-security-policy"].startswith("default-src 'none'")
    made = await filled.http.get("/healthz", headers={"X-Request-Id": "no good\tid"})
    assert made.headers["x-request-id"] != "no good\tid"


async def test_documents_never_come_as_pages(filled: Api) -> None:
    page = b"<script>alert(1)</script>"
    put = await filled.http.put("/v1/collections/handbook/documents/x.txt", content=page, headers={"Content-Type": "text/plain"})
    assert put.status_code == 200, put.text
    answer = await filled.http.get("/v1/collections/handbook/documents/x.txt", params={"form": "original"})
    assert (answer.content, answer.headers["content-type"]) == (page, "application/octet-stream")
    assert answer.headers["content-disposition"] == "attachment"


async def test_the_docs_page_loads_nothing_from_elsewhere(api: Api) -> None:
    page = await api.http.get("/docs")
    assert "https://" not in page.text
    assert "http://" not in page.text
    assert "'self'" in page.headers["content-security-policy"]
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "start.js"):
        assert f"/docs/{name}" in page.text
        assert (await api.http.get(f"/docs/{name}")).status_code == 200
