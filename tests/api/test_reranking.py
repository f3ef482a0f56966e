"""Reranking over HTTP: the setting and the request's field, what is told of it, what is logged, replays, and a reranker that is down."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from ragstone.domain.errors import Unavailable
from ragstone.domain.interactions import InteractionFilter
from ragstone.settings.model import Settings
from tests.api.conftest import Api, everything, serve
from tests.api.test_query import events
from tests.fakes.platform import fake_platform
from tests.fakes.reranker import WordOverlapReranker

# Both lists put the first one first: it says the question's words most often. The reranker knows that only one of them holds them all.
OFTEN = {"path": "often.md", "text": "Ticket, ticket, ticket, ticket: bicycle ticket."}
WHOLE = {"path": "whole.md", "text": "What does a bicycle ticket cost? Four crowns, at the harbour."}
OTHER = {"path": "other.md", "text": "The ferry leaves at noon."}
ASKED: dict[str, Any] = {"collection": "handbook", "question": "What does a bicycle ticket cost?", "abstain": False, "explain": True}
SEARCHED = {key: value for key, value in ASKED.items() if key != "abstain"}
CONFIGURED: dict[str, Any] = {"kind": "http", "dialect": "tei", "base_url": "http://127.0.0.1:1", "model": "judge", "candidates": 5}


class Contrary(WordOverlapReranker):
    """Prefers what holds least of the question."""

    async def score(self, question: str, texts: Any) -> list[float]:
        return [-score for score in await super().score(question, texts)]


@asynccontextmanager
async def reranking(tmp_path: Path, reranker: WordOverlapReranker | None, setting: Any = None) -> AsyncIterator[Api]:
    async with serve(
        fake_platform(reranker=reranker), Settings(data_dir=tmp_path / "data", **({"reranker": setting} if setting else {}))
    ) as api:
        await api.ingest(OFTEN, WHOLE, OTHER)
        yield api


def order(body: dict[str, Any]) -> list[str]:
    return [passage["path"] for passage in body["passages"]]


async def test_a_request_says_how_many_and_sees_why(tmp_path: Path) -> None:
    async with reranking(tmp_path, Contrary()) as api:
        plain = (await api.http.post("/query", json=ASKED)).json()
        body = (await api.http.post("/query", json=ASKED | {"rerank": 10})).json()
        assert order(body) == order(plain)[::-1]
        scores = [passage["explain"]["rerank"] for passage in body["passages"]]
        assert scores == sorted(scores, reverse=True)
        assert [passage["score"] for passage in body["passages"]] == [passage["score"] for passage in plain["passages"]][::-1]
        assert {passage["explain"]["rerank"] for passage in plain["passages"]} == {None}
        assert body["models"] | {"reranker": "fake:overlap", "reranker_revision": "1", "reranker_digest": ""} == body["models"]
        assert not any(key.startswith("reranker") for key in plain["models"])
        assert body["release"]["retrieval"]["rerank"] == 10
        assert body["release"]["reranker"] == {"kind": "fake", "name": "overlap", "revision": "1", "digest": ""}
        assert (plain["release"]["retrieval"]["rerank"], plain["release"]["reranker"]) == (0, None)
        assert body["release"]["id"] != plain["release"]["id"]
        assert 0 <= body["timings"]["rerank"] <= body["timings"]["search"]
        assert "rerank" not in plain["timings"]
        assert body["degraded"] == []
        logged = (await api.http.get(f"/v1/interactions/{body['id']}")).json()
        assert [passage["explain"]["rerank"] for passage in logged["passages"]] == scores
        assert (logged["models"], logged["request"]["retrieval"]["rerank"]) == (body["models"], 10)
        found = (await api.http.post("/v1/search", json=SEARCHED | {"rerank": 10})).json()
        assert (order(found), found["degraded"]) == (order(body), [])
        assert 'ragstone_query_phase_duration_seconds_count{phase="rerank"} 1.0' in (await api.http.get("/metrics")).text


async def test_exports_hold_the_reranker_s_scores(tmp_path: Path) -> None:
    async with reranking(tmp_path, Contrary()) as api:
        asked = (await api.http.post("/query", json=ASKED | {"rerank": 2})).json()
        answer = await api.http.get("/v1/interactions/export", params={"format": "parquet"})
        [row] = pq.ParquetFile(io.BytesIO(answer.content)).read().to_pylist()
        assert [passage["rerank"] for passage in row["passages"]] == [passage["explain"]["rerank"] for passage in asked["passages"]]
        assert [score is None for score in (passage["rerank"] for passage in row["passages"])] == [False, False, True]
        assert dict(row["models"])["reranker"] == "fake:overlap"


async def test_the_setting_counts_where_the_request_does_not_say(tmp_path: Path) -> None:
    async with reranking(tmp_path, reranker := Contrary(), CONFIGURED) as api:
        body = (await api.http.post("/query", json=ASKED)).json()
        assert body["release"]["retrieval"]["rerank"] == 5
        assert (await api.http.post("/query", json=ASKED | {"rerank": 0})).json()["release"]["reranker"] is None
        assert order((await api.http.post("/v1/search", json=SEARCHED)).json()) == order(body)
        chat = {"model": "ragstone/handbook", "messages": [{"role": "user", "content": ASKED["question"]}]}
        before = len(reranker.asked)
        told = (await api.http.post("/v1/chat/completions", json=chat)).json()["ragstone"]
        assert (len(reranker.asked), told["degraded"]) == (before + 1, [])
        info = (await api.http.get("/v1/info")).json()
        assert (info["reranker"]["name"], info["limits"]["rerank"]) == ("overlap", 100)


@pytest.mark.parametrize("rerank", [-1, 101, 1001, 1.5, "5"])
async def test_a_number_out_of_bounds_is_refused_and_nothing_is_changed(tmp_path: Path, rerank: object) -> None:
    async with reranking(tmp_path, reranker := WordOverlapReranker()) as api:
        before = await everything(api.platform)
        for route, asked in (("/query", ASKED), ("/v1/search", SEARCHED)):
            answer = await api.http.post(route, json=asked | {"rerank": rerank})
            assert (answer.status_code, answer.json()["field"]) == (422, "rerank"), answer.text
        assert reranker.asked == []
        assert await everything(api.platform) == before


async def test_without_a_reranker_asking_for_one_is_refused_and_nothing_else_is_different(tmp_path: Path) -> None:
    async with reranking(tmp_path, None) as api:
        answer = await api.http.post("/v1/search", json=SEARCHED | {"rerank": 5})
        assert (answer.status_code, answer.json()["field"]) == (422, "rerank")
        assert "reranker.kind" in answer.json()["detail"]
        assert (await api.http.post("/v1/search", json=SEARCHED | {"rerank": 0})).status_code == 200
        body = (await api.http.post("/query", json=ASKED)).json()
        assert (body["degraded"], body["release"]["reranker"]) == ([], None)
        assert (await api.http.get("/v1/info")).json()["reranker"] is None


async def test_while_it_is_down_answers_come_in_the_fused_order_and_say_so(tmp_path: Path) -> None:
    async with reranking(tmp_path, reranker := Contrary()) as api:
        plain = (await api.http.post("/query", json=ASKED)).json()
        reranker.error = Unavailable("no GPU.")
        asked = ASKED | {"rerank": 10}
        body = (await api.http.post("/query", json=asked)).json()
        assert (order(body), body["degraded"]) == (order(plain), ["rerank"])
        assert body["answer"] == plain["answer"]
        assert not any(key.startswith("reranker") for key in body["models"])  # it did nothing for this answer
        assert body["release"]["reranker"]["name"] == "overlap"  # what is set, and does the next one again
        logged = (await api.http.get(f"/v1/interactions/{body['id']}")).json()
        assert (logged["degraded"], logged["models"]) == (["rerank"], body["models"])
        told = events((await api.http.post("/query", json=asked | {"stream": True})).text)
        assert [data["degraded"] for name, data in told if name == "answer"] == [["rerank"]]
        found = (await api.http.post("/v1/search", json=SEARCHED | {"rerank": 10})).json()
        assert (order(found), found["degraded"]) == (order(plain), ["rerank"])
        metrics = (await api.http.get("/metrics")).text
        assert 'ragstone_answers_degraded_total{part="rerank"} 2.0' in metrics
        assert 'ragstone_searches_degraded_total{part="rerank"} 1.0' in metrics
        ready = await api.http.get("/readyz")
        assert (ready.status_code, ready.json()["degraded"]) == (200, [{"part": "rerank", "reason": "failed (no GPU.)"}])


async def test_readiness_does_not_speak_of_a_reranker_that_is_not_set_up(tmp_path: Path) -> None:
    async with reranking(tmp_path, None) as api:
        assert (await api.http.get("/readyz")).json()["degraded"] == []


async def test_a_replay_keeps_the_order_and_the_scores_of_then(tmp_path: Path) -> None:
    async with reranking(tmp_path, reranker := Contrary()) as api:
        asked = (await api.http.post("/query", json=ASKED | {"rerank": 10})).json()

        async def replayed(id_: str) -> tuple[dict[str, Any], dict[str, Any]]:
            told = (await api.http.post(f"/v1/interactions/{id_}/replay")).json()
            return told, (await api.http.get(f"/v1/interactions/{told['id']}")).json()

        told, logged = await replayed(asked["id"])
        assert (told["passages"]["identical"], told["retrieval"]["identical"], told["same_release"]) == (True, True, True)
        assert [passage["explain"] for passage in logged["passages"]] == [passage["explain"] for passage in asked["passages"]]
        assert (logged["models"]["reranker"], logged["degraded"]) == ("fake:overlap", [])
        reranker.error = Unavailable("no GPU.")
        told, _ = await replayed(asked["id"])
        assert (told["retrieval"]["identical"], told["now"]["degraded"]) == (None, [])
        assert told["retrieval"]["note"] == "it was reranked, and the reranker does not answer now"
        degraded = (await api.http.post("/query", json=ASKED | {"rerank": 10})).json()
        reranker.error = None
        told, logged = await replayed(degraded["id"])  # its passages were never reranked, and are not now
        assert (told["then"]["degraded"], told["now"]["degraded"], told["retrieval"]["identical"]) == (["rerank"], ["rerank"], True)
        assert "reranker" not in logged["models"]


async def test_a_replay_where_there_is_no_reranker_any_more_says_so(tmp_path: Path) -> None:
    async with reranking(tmp_path, Contrary()) as api:
        asked = (await api.http.post("/query", json=ASKED | {"rerank": 10})).json()
        [interaction] = await api.platform.interactions.page(InteractionFilter())
        platform = fake_platform(
            catalog=api.platform.adapters.catalog,
            versions=api.platform.adapters.versions,
            index=api.platform.adapters.index,
            staging=api.platform.adapters.staging,
            interactions=api.platform.interactions,
        )
        async with serve(platform, Settings(data_dir=tmp_path / "data")) as without:
            told = (await without.http.post(f"/v1/interactions/{interaction.id}/replay")).json()
        assert told["retrieval"]["note"] == "it was reranked, and there is no reranker now"
        assert (told["passages"]["identical"], told["then"]["models"]) == (True, asked["models"])
        assert told["same_release"] is False


async def test_an_interaction_of_before_there_were_rerankers_is_replayed(tmp_path: Path) -> None:
    async with reranking(tmp_path, None) as api:
        await api.http.post("/query", json=ASKED)
        [stored] = await api.platform.interactions.page(InteractionFilter())
        del stored.request["retrieval"]["rerank"]
        for passage in stored.passages:
            del passage["explain"]["rerank"]
        [as_logged] = await api.platform.interactions.page(InteractionFilter())
        assert "rerank" not in as_logged.passages[0]["explain"]
        told = (await api.http.post(f"/v1/interactions/{stored.id}/replay")).json()
        assert (told["same_release"], told["passages"]["identical"], told["retrieval"]["identical"]) == (True, True, True)
