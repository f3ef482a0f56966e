"""POST /query and /v1/search: answers, streams, filters, limits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ragstone.domain.errors import Unavailable
from ragstone.domain.interactions import Interaction, InteractionFilter, Logged
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Platform
from tests.api.conftest import FARES, GUIDE, Api, everything, serve
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.interaction_log import InMemoryInteractionLog
from tests.fakes.platform import fake_platform

ASKED = {"collection": "handbook", "question": "What does a bicycle ticket cost?", "abstain": False}


def events(text: str) -> list[tuple[str, Any]]:
    """Name and data of each event; `[DONE]` as it is."""
    found = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            found.append((fields.get("event", ""), fields["data"] if fields["data"] == "[DONE]" else json.loads(fields["data"])))
    return found


async def test_a_question_is_answered_with_its_sources_and_provenance(filled: Api) -> None:
    head = await filled.head()
    assert head is not None
    answer = await filled.http.post("/query", json=ASKED)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["answer"]["text"]
    assert body["passages"][0]["path"] == "fares.txt"
    assert "explain" not in body["passages"][0]
    assert body["snapshot"] == {"collection": "handbook", "commit_id": head.id, "seq": 1, "position": 1, "was_head": True}
    assert answer.headers["x-ragstone-commit"] == head.id
    logged = await filled.platform.interactions.get(body["id"])
    assert (logged.question, logged.answer, logged.release_id) == (ASKED["question"], body["answer"], body["release"]["id"])


async def test_a_stream_says_the_same_as_json(filled: Api) -> None:
    whole = (await filled.http.post("/query", json={**ASKED, "explain": True})).json()
    for request in (
        {"json": {**ASKED, "explain": True, "stream": True}},
        {"json": {**ASKED, "explain": True}, "headers": {"Accept": "text/event-stream"}},
    ):
        answer = await filled.http.post("/query", **request)
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer.text)
        assert told[0] == ("passages", {"passages": whole["passages"]})
        assert "".join(data["text"] for name, data in told if name == "delta") == whole["answer"]["text"]
        final = dict(told)["answer"]
        assert {key: final[key] for key in ("answer", "passages", "snapshot", "release")} == {
            key: whole[key] for key in ("answer", "passages", "snapshot", "release")
        }
        assert told[-1] == ("", "[DONE]")
        assert (await filled.platform.interactions.get(final["id"])).question == ASKED["question"]


async def test_before_the_first_event_an_error_is_a_status(filled: Api) -> None:
    for change, status in (
        ({"collection": "nowhere"}, 404),
        ({"as_of": "no-such-tag"}, 404),
        ({"prompt": "no/1"}, 404),
        ({"top_k": 10**9}, 422),
    ):
        answer = await filled.http.post("/query", json={**ASKED, "stream": True, **change})
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_after_the_first_event_an_error_is_an_event(settings: Settings) -> None:
    generator = ScriptedGenerator(["Four "], error=Unavailable("The generator went away."))
    async with serve(fake_platform(generator=generator), settings) as api:
        await api.ingest(FARES)
        told = events((await api.http.post("/query", json={**ASKED, "stream": True})).text)
        assert [name for name, _ in told] == ["passages", "delta", "error", ""]
        assert (told[2][1]["status"], told[2][1]["detail"]) == (503, "The generator went away.")
        plain = await api.http.post("/query", json=ASKED)
        assert (plain.status_code, plain.json()["type"]) == (503, "urn:ragstone:problem:unavailable")
        assert await api.platform.interactions.page(InteractionFilter()) == []


class BrokenLog(InMemoryInteractionLog):
    """Fails in a way that nobody foresaw."""

    async def append(self, interaction: Interaction) -> Logged:
        raise RuntimeError("secret detail")


async def test_the_unforeseen_is_told_without_its_details(settings: Settings) -> None:
    async with serve(fake_platform(interactions=BrokenLog()), settings) as api:
        await api.ingest(FARES)
        answer = await api.http.post("/query", json=ASKED)
        assert (answer.status_code, answer.json()["type"]) == (500, "urn:ragstone:problem:internal-error")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        stream = await api.http.post("/query", json={**ASKED, "stream": True})
        assert events(stream.text)[-2][1]["status"] == 500
        assert "secret" not in answer.text + stream.text


async def test_a_client_that_hangs_up_stops_the_generator(settings: Settings) -> None:
    generator = ScriptedGenerator(["Four "], blocks=True)
    platform = fake_platform(generator=generator)
    async with serve(platform, settings) as api:
        await api.ingest(FARES)
        for stream in (True, False):
            await hang_up(platform, settings, {**ASKED, "stream": stream}, generator)
        assert await platform.interactions.page(InteractionFilter()) == []


async def until_asked(generator: ScriptedGenerator, times: int) -> None:
    while len(generator.requests) < times:  # noqa: ASYNC110 - the fake tells nobody
        await asyncio.sleep(0)


async def hang_up(platform: Platform, settings: Settings, body: dict[str, Any], generator: ScriptedGenerator) -> None:
    """Sends a request, closes the connection once the generator works, and waits for the app to end."""
    begun = len(generator.requests)
    sent = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if sent:
            return sent.pop()
        await until_asked(generator, begun + 1)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        """Nobody reads it."""

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/query"}
    app: Any = create_app(platform, settings)
    async with asyncio.timeout(20) as patience:
        await app({**scope, "raw_path": b"/query", "query_string": b"", "root_path": "", "headers": headers}, receive, send)
    assert not patience.expired()


async def test_explain_shows_each_score(filled: Api) -> None:
    found = (await filled.http.post("/v1/search", json={"collection": "handbook", "question": "bicycle ticket", "explain": True})).json()
    first = found["passages"][0]["explain"]
    assert (first["bm25_rank"], first["fused"]) == (1, found["passages"][0]["score"])
    assert first["bm25"] > 0


@pytest.mark.parametrize(
    ("condition", "paths"),
    [
        ({"team": "sales"}, ["fares.txt"]),
        ({"team": {"in": ["ops", "sales"]}}, ["fares.txt"]),
        ({"year": {"gte": 2026, "lt": 2027}}, ["fares.txt"]),
        ({"year": {"gt": 2026}}, []),
        ({"team": {"exists": False}}, ["guide/start.md"]),
        ({"path": {"prefix": "guide/"}}, ["guide/start.md"]),
        ({"path": {"not": {"prefix": "guide/"}}}, ["fares.txt"]),
        ({"team": {"not": "sales"}}, ["guide/start.md"]),
        ({"media_type": "text/markdown", "team": {"exists": False}}, ["guide/start.md"]),
    ],
)
async def test_filters_choose_documents(filled: Api, condition: dict[str, Any], paths: list[str]) -> None:
    body = {"collection": "handbook", "question": "ticket command", "filter": condition}
    found = (await filled.http.post("/v1/search", json=body)).json()
    assert sorted({passage["path"] for passage in found["passages"]}) == paths


async def test_reads_go_back_in_time_and_wait_for_what_was_written(filled: Api) -> None:
    first = await filled.head()
    second = await filled.ingest({"path": "fares.txt", "text": "A bicycle ticket costs nine crowns."})
    assert first is not None
    body = {"collection": "handbook", "question": "bicycle ticket"}
    for reference in (first.id, first.id[:7], "#1"):
        answer = await filled.http.post("/v1/search", json={**body, "as_of": reference})
        assert "four" in answer.json()["passages"][0]["text"]
        assert answer.headers["x-ragstone-commit"] == first.id
    newest = await filled.http.post("/v1/search", json={**body, "min_commit": second["result"]["commit_id"]})
    assert "nine" in newest.json()["passages"][0]["text"]
    for reference in ("#7", "f" * 40, "gone", "1999-01-01", "#0"):
        answer = await filled.http.post("/query", json={**body, "as_of": reference})
        assert answer.status_code == 404, (reference, answer.text)


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"top_k": 0}, 422, "top_k"),
        ({"top_k": 10**9}, 422, "top_k"),
        ({"top_k": 10**400}, 422, "top_k"),
        ({"top_k": "8"}, 422, "top_k"),
        ({"top_k": True}, 422, "top_k"),
        ({"top_k": 1.5}, 422, "top_k"),
        ({"question": ""}, 422, "question"),
        ({"question": " \n"}, 422, "question"),
        ({"question": "x" * 8001}, 413, "question"),
        ({"collection": "No Such"}, 422, "collection"),
        ({"collection": "../x"}, 422, "collection"),
        ({"alpha": 2}, 422, "alpha"),
        ({"fusion": "magic"}, 422, "fusion"),
        ({"neighbours": -1}, 422, "neighbours"),
        ({"temperature": -1}, 422, "temperature"),
        ({"max_tokens": 0}, 422, "max_tokens"),
        ({"unknown": 1}, 422, "unknown"),
        ({"filter": {"team": None}}, 422, "filter.team"),
        ({"filter": {"team": ["a"]}}, 422, "filter.team"),
        ({"filter": {"team": {"like": "a"}}}, 422, "filter.team"),
        ({"filter": {"year": {"gt": "a"}}}, 422, "filter.year.gt"),
        ({"filter": {"a b": 1}}, 422, "filter"),
        ({"filter": {"year": 2**64}}, 422, "filter.year"),
        ({"as_of": 3}, 422, "as_of"),
        ({"min_commit": "xyz"}, 422, "commit"),
        ({"min_commit": "f" * 40}, 404, "commit"),
        ({"prompt": "nope/1"}, 404, "prompt"),
    ],
)
async def test_bad_input_is_refused_by_field(filled: Api, change: dict[str, Any], status: int, field: str) -> None:
    before = await everything(filled.platform)
    answer = await filled.http.post("/query", json={**ASKED, **change})
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    assert await everything(filled.platform) == before


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"question": " "}, "question: it is empty."),
        ({"unknown": 1}, "unknown: there is no such field; leave it out."),
        ({"question": None}, "question: Input should be a valid string."),
    ],
)
async def test_what_is_wrong_with_a_field_is_told_in_words(filled: Api, change: dict[str, Any], detail: str) -> None:
    assert (await filled.http.post("/query", json={**ASKED, **change})).json()["detail"] == detail
    assert (await filled.http.post("/query", json={"collection": "handbook"})).json()["detail"] == "question: it is missing."


async def test_an_empty_collection_says_so(api: Api) -> None:
    await api.http.post("/v1/collections", json={"name": "handbook"})
    answer = await api.http.post("/query", json=ASKED)
    assert (answer.status_code, answer.json()["field"]) == (404, "collection")


async def test_too_many_questions_at_once_are_told_to_come_back(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # Load is not measured: on a slow machine there would be much.
    monkeypatch.setattr("ragstone.services.orchestrator.gate._WINDOW", 3600.0)
    generator = ScriptedGenerator(["Four "], blocks=True)
    platform = fake_platform(generator=generator, limits=Limits(concurrent_queries=2))
    async with serve(platform, settings) as api:
        await api.ingest(FARES, GUIDE)
        running = [asyncio.create_task(api.http.post("/query", json=ASKED)) for _ in range(4)]
        await until_asked(generator, 2)
        turned_away = await api.http.post("/query", json=ASKED)
        assert (turned_away.status_code, turned_away.headers["retry-after"]) == (429, "1")
        assert turned_away.json()["type"] == "urn:ragstone:problem:busy"
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert (await api.http.post("/v1/search", json={"collection": "handbook", "question": "bicycle"})).status_code == 200
