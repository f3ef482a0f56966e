"""Questions with a conversation before them, over HTTP: rewritten, logged, replayed, and as they are where that can't be."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ragstone.adapters.extractive import ExtractiveGenerator
from ragstone.domain.errors import Unavailable
from ragstone.domain.generation import GenerationEvent, GenerationRequest
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from tests.api.conftest import FARES, Api, serve
from tests.api.test_query import events
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.platform import fake_platform

STANDALONE = "What does a bicycle ticket cost?"
HISTORY = [{"role": "user", "content": "May I take a bicycle?"}, {"role": "assistant", "content": "Yes, with a ticket. [1]"}]
ASKED: dict[str, Any] = {"collection": "handbook", "question": "And what does it cost?", "history": HISTORY, "abstain": False}
CHAT: dict[str, Any] = {"model": "ragstone/handbook", "messages": [*HISTORY, {"role": "user", "content": ASKED["question"]}]}
REWRITTEN = {"question": STANDALONE, "prompt": "rewrite/1", "turns": 2, "reason": None, "failed": False}


class Rewriting(ScriptedGenerator):
    """Gives `standalone` for a conversation, and what the parent says otherwise. `lost`: a conversation is what it has no answer to."""

    def __init__(self, standalone: str = STANDALONE) -> None:
        super().__init__()
        self.standalone = standalone
        self.lost = False

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        rewrites = "<conversation>" in request.user
        self._pieces = [self.standalone] if rewrites else None
        self.error = Unavailable("It is away.") if rewrites and self.lost else None
        async for event in super().stream(request):
            yield event


@asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[tuple[Api, Rewriting]]:
    generator = Rewriting()
    async with serve(fake_platform(generator=generator), settings) as api:
        await api.ingest(FARES, {"path": "cost.txt", "text": "And what it does cost nobody knows."})
        yield api, generator


async def test_the_rewritten_question_is_searched_for_and_both_are_told_and_logged(settings: Settings) -> None:
    async with asking(settings) as (api, generator):
        alone = (await api.http.post("/query", json={**ASKED, "question": STANDALONE, "history": []})).json()
        body = (await api.http.post("/query", json=ASKED)).json()
        assert body["rewriting"] == REWRITTEN
        assert body["degraded"] == []
        assert body["passages"] == alone["passages"]
        plain = (await api.http.post("/query", json={**ASKED, "history": []})).json()
        assert plain["passages"] != alone["passages"]
        assert [request.question for request in generator.requests] == [STANDALONE, ASKED["question"], STANDALONE, ASKED["question"]]
        assert "rewrite" in body["timings"]
        logged = (await api.http.get(f"/v1/interactions/{body['id']}")).json()
        assert (logged["question"], logged["request"]["rewriting"]) == (ASKED["question"], REWRITTEN)
        assert HISTORY[1]["content"] not in str(logged)
        assert 'ragstone_query_phase_duration_seconds_count{phase="rewrite"} 1.0' in (await api.http.get("/metrics")).text


async def test_a_question_without_a_conversation_is_as_before(settings: Settings) -> None:
    async with asking(settings) as (api, generator):
        body = (await api.http.post("/query", json={**ASKED, "history": []})).json()
        assert "rewriting" not in body
        assert "rewrite" not in body["timings"]
        assert len(generator.requests) == 1
        assert "rewriting" not in (await api.http.get(f"/v1/interactions/{body['id']}")).json()["request"]


async def test_a_replay_asks_the_rewritten_question_again_and_does_not_rewrite(settings: Settings) -> None:
    async with asking(settings) as (api, generator):
        body = (await api.http.post("/query", json=ASKED)).json()
        asked, generator.standalone = len(generator.requests), "Something else?"
        replayed = (await api.http.post(f"/v1/interactions/{body['id']}/replay")).json()
        assert (replayed["question"], replayed["retrieval"]["identical"], replayed["passages"]["identical"]) == (
            ASKED["question"],
            True,
            True,
        )
        assert [request.question for request in generator.requests[asked:]] == [STANDALONE]
        again = (await api.http.get(f"/v1/interactions/{replayed['id']}")).json()
        assert again["request"]["rewriting"] == REWRITTEN


async def test_while_it_can_not_be_rewritten_the_question_is_asked_as_it_is_and_the_answer_says_so(settings: Settings) -> None:
    async with asking(settings) as (api, generator):
        alone = (await api.http.post("/query", json={**ASKED, "history": []})).json()
        generator.lost = True
        body = (await api.http.post("/query", json=ASKED)).json()
        assert body["rewriting"] == {**REWRITTEN, "question": None, "reason": "It is away.", "failed": True}
        assert body["degraded"] == ["rewriting"]
        assert body["passages"] == alone["passages"]
        assert (await api.http.get(f"/v1/interactions/{body['id']}")).json()["degraded"] == ["rewriting"]
        assert 'ragstone_answers_degraded_total{part="rewriting"} 1.0' in (await api.http.get("/metrics")).text
        generator.lost = False
        replayed = (await api.http.post(f"/v1/interactions/{body['id']}/replay")).json()
        assert replayed["retrieval"]["identical"]
        assert replayed["now"]["degraded"] == ["rewriting"]


async def test_a_generator_of_quotations_rewrites_nothing_which_is_told_and_not_an_outage(settings: Settings) -> None:
    async with serve(fake_platform(generator=ExtractiveGenerator(HashingEmbeddingModel(32))), settings) as api:
        await api.ingest(FARES)
        for route, body in (("/query", ASKED), ("/v1/chat/completions", CHAT)):
            answer = (await api.http.post(route, json=body)).json()
            told = answer["rewriting"] if route == "/query" else answer["ragstone"]["rewriting"]
            assert (told["question"], told["failed"]) == (None, False)
            assert "rewrites nothing" in told["reason"]
            assert (answer if route == "/query" else answer["ragstone"])["degraded"] == []


async def test_a_chat_s_earlier_messages_are_its_conversation(settings: Settings) -> None:
    async with asking(settings) as (api, generator):
        messages: list[Any] = [
            {"role": "system", "content": "Be brief."},
            *CHAT["messages"][:2],
            {"role": "assistant", "content": None},
            {"role": "user", "content": [{"type": "text", "text": ASKED["question"]}]},
            {"role": "assistant", "content": "Said later."},
        ]
        answer = (await api.http.post("/v1/chat/completions", json={**CHAT, "messages": messages})).json()
        assert answer["ragstone"]["rewriting"] == REWRITTEN
        rewriting = generator.requests[0].user
        assert HISTORY[1]["content"] in rewriting
        assert "Be brief" not in rewriting
        assert "Said later" not in rewriting
        streamed = (await api.http.post("/v1/chat/completions", json={**CHAT, "stream": True})).text
        assert '"rewriting":{"question":"What does a bicycle ticket cost?"' in streamed.replace('": ', '":').replace(', "', ',"')
        told = events((await api.http.post("/query", json={**ASKED, "stream": True})).text)
        assert next(data for kind, data in told if kind == "answer")["rewriting"] == REWRITTEN


async def test_what_was_not_to_be_kept_of_a_question_is_not_kept_of_the_rewritten_one(settings: Settings) -> None:
    from ragstone.adapters.redacting_log import RedactingInteractionLog  # noqa: PLC0415
    from ragstone.domain.redaction import Redaction  # noqa: PLC0415

    platform = fake_platform(generator=Rewriting())
    redacted = RedactingInteractionLog(platform.interactions, Redaction({"question": "drop"}))
    platform.query._log = redacted
    async with serve(platform, settings) as api:
        await api.ingest(FARES)
        body = (await api.http.post("/query", json=ASKED)).json()
        assert body["rewriting"]["question"] == STANDALONE
        logged = (await api.http.get(f"/v1/interactions/{body['id']}")).json()
        assert (logged["question"], logged["request"]["rewriting"]["question"]) == ("", "")
        assert (await api.http.post(f"/v1/interactions/{body['id']}/replay")).status_code == 409


async def test_a_purge_takes_the_rewritten_question_of_its_answers(settings: Settings) -> None:
    async with asking(settings) as (api, _):
        body = (await api.http.post("/query", json=ASKED)).json()
        purged = await api.http.post("/v1/collections/handbook/purge", json={"path": "fares.txt"})
        assert purged.status_code == 200, purged.text
        logged = (await api.http.get(f"/v1/interactions/{body['id']}")).json()
        assert logged["request"]["rewriting"]["question"] == "[purged]"


@pytest.mark.parametrize("history", [[{"role": "system", "content": "x"}], [{"role": "user"}], "x", [{"role": "user", "content": 5}]])
async def test_what_is_no_conversation_is_refused(settings: Settings, history: Any) -> None:
    async with asking(settings) as (api, _):
        answer = await api.http.post("/query", json={**ASKED, "history": history})
        assert answer.status_code == 422
        assert answer.json()["field"].startswith("history")


async def test_the_routes_describe_it(settings: Settings) -> None:
    schemas = create_app(fake_platform(), settings).openapi()["components"]["schemas"]
    assert "history" in schemas["QueryBody"]["properties"]
    assert "rewriting" in schemas["QueryResponse"]["properties"]
