"""Listing, exporting and replaying interactions, and the impact of changes, over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from ragstone.domain.errors import Unavailable
from ragstone.domain.interactions import Interaction, InteractionFilter, Logged
from ragstone.domain.redaction import Redaction
from ragstone.services.orchestrator import interaction_export
from ragstone.settings.model import Settings
from tests.api.conftest import FARES, Api, everything, serve
from tests.fakes.interaction_log import InMemoryInteractionLog
from tests.fakes.platform import fake_platform
from tests.support.interactions import interaction

HANDBOOK = "/v1/collections/handbook"
ASKED = {"collection": "handbook", "question": "What does a bicycle ticket cost?", "top_k": 1, "abstain": False}


async def ask(api: Api, **changes: Any) -> dict[str, Any]:
    answer = await api.http.post("/query", json={**ASKED, **changes})
    assert answer.status_code == 200, answer.text
    form: dict[str, Any] = answer.json()
    return form


async def listed(api: Api, **query: Any) -> list[str]:
    answer = await api.http.get("/v1/interactions", params=query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["interactions"]]


async def test_interactions_are_filtered(filled: Api) -> None:
    first, second = await ask(filled), await ask(filled, question="Where is the harbour map?")
    await filled.ingest({"path": "b.txt", "text": "Another."})
    third = await ask(filled, abstain=True, filter={"path": "nowhere"})
    await filled.http.post(f"/v1/interactions/{first['id']}/feedback", json={"thumb": -1, "tags": ["wrong"]})
    assert await listed(filled) == [third["id"], second["id"], first["id"]]
    assert await listed(filled, commit=first["snapshot"]["commit_id"]) == [second["id"], first["id"]]
    assert await listed(filled, release=first["release"]["id"], abstained="false") == [second["id"], first["id"]]
    assert await listed(filled, abstained="true") == [third["id"]]
    assert (
        await listed(filled, thumb="down") == await listed(filled, tag="wrong") == await listed(filled, path="fares.txt") == [first["id"]]
    )
    assert await listed(filled, thumb="up") == await listed(filled, until="2026-01-01") == []
    when = (await filled.http.get(f"/v1/interactions/{second['id']}")).json()["created_at"]
    assert first["id"] in await listed(filled, until=when)
    assert await listed(filled, since="2020-01-01T00:00:00+01:00", limit=1, before=third["id"]) == [second["id"]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"since": "yesterday"}, "since"),
        ({"until": "9999-99-99"}, "until"),
        ({"thumb": "1"}, "thumb"),
        ({"abstained": "perhaps"}, "abstained"),
        ({"limit": "0"}, "limit"),
        ({"colection": "x"}, "colection"),
    ],
)
async def test_bad_filters_are_refused(filled: Api, query: dict[str, str], field: str) -> None:
    for path in ("/v1/interactions", "/v1/interactions/export"):
        answer = await filled.http.get(path, params=query)
        assert (answer.status_code, answer.json()["field"]) == (422, field)


async def logged(api: Api, count: int) -> list[str]:
    for number in range(count):
        await api.platform.interactions.append(interaction(f"i{number:04d}", collection="handbook", question=f"Question {number}?\n\u2028"))
    return [f"i{number:04d}" for number in reversed(range(count))]


async def test_json_lines_hold_every_interaction_and_can_be_continued(api: Api) -> None:
    ids = await logged(api, 450)
    answer = await api.http.get("/v1/interactions/export", params={"collection": "handbook"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="interactions.jsonl"'
    lines = [json.loads(line) for line in answer.content.split(b"\n")[:-1]]
    assert [line["id"] for line in lines] == ids
    assert lines[7] == (await api.http.get(f"/v1/interactions/{ids[7]}")).json()
    rest = await api.http.get("/v1/interactions/export", params={"before": ids[300], "limit": 140})
    assert [json.loads(line)["id"] for line in rest.text.split("\n")[:-1]] == ids[301:441]
    assert (await api.http.get("/v1/interactions/export", params={"collection": "other"})).content == b""


async def test_parquet_has_typed_columns(filled: Api) -> None:
    asked = await ask(filled)
    await filled.http.post(f"/v1/interactions/{asked['id']}/feedback", json={"score": 0.5, "tags": ["a"], "comment": "Yes."})
    await filled.http.post(f"/v1/interactions/{asked['id']}/replay")
    await logged(filled, 250)
    answer = await filled.http.get("/v1/interactions/export", params={"format": "parquet"})
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    file = pq.ParquetFile(io.BytesIO(answer.content))
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (252, 2)
    rows = {row["id"]: row for row in file.read().to_pylist()}
    row, told = rows[asked["id"]], (await filled.http.get(f"/v1/interactions/{asked['id']}")).json()
    assert row["created_at"].isoformat() == told["created_at"].replace("Z", "+00:00")
    assert (row["answer"], row["abstained"], row["grounded"]) == (told["answer"]["text"], False, told["answer"]["grounded"])
    assert row["citations"][0] == told["answer"]["citations"][0]
    assert json.loads(row["passages"][0]["metadata"]) == FARES["metadata"]
    assert (row["passages"][0]["score"], row["passages"][0]["bm25"]) == (
        told["passages"][0]["score"],
        told["passages"][0]["explain"]["bm25"],
    )
    assert (row["feedback"][0]["tags"], row["feedback"][0]["score"], dict(row["timings"])) == (["a"], 0.5, told["timings"])
    assert json.loads(row["request"]) == told["request"]
    assert [one["replay_of"] for one in rows.values() if one["replay_of"]] == [asked["id"]]
    empty = await filled.http.get("/v1/interactions/export", params={"format": "parquet", "collection": "other"})
    assert pq.ParquetFile(io.BytesIO(empty.content)).metadata.num_rows == 0


async def test_parquet_without_pyarrow_says_what_to_install(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ragstone.adapters.interactions_parquet", None)
    answer = await api.http.get("/v1/interactions/export", params={"format": "parquet"})
    assert (answer.status_code, answer.json()["field"]) == (422, "format")
    assert "ragstone[parquet]" in answer.json()["detail"]


async def test_an_export_reads_no_further_than_it_is_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interaction_export, "_PAGE", 10)
    await logged(api, 100)
    asked = 0
    whole = api.platform.interactions.page

    async def counted(before: str | None, limit: int) -> list[Interaction]:
        nonlocal asked
        asked += 1
        return await whole(InteractionFilter(), before=before, limit=limit)

    stream = interaction_export.export(counted, "jsonl", before=None, limit=None)
    await anext(stream)
    await anext(stream)
    assert asked == 2
    await stream.aclose()


async def test_a_replay_shows_old_and_new(filled: Api) -> None:
    asked = await ask(filled)
    await filled.ingest({"path": "fares.txt", "text": "A bicycle ticket costs nine crowns."})
    answer = await filled.http.post(f"/v1/interactions/{asked['id']}/replay")
    assert answer.status_code == 200, answer.text
    form = answer.json()
    assert answer.headers["x-ragstone-commit"] == asked["snapshot"]["commit_id"]
    assert (form["replay_of"], form["same_release"], form["diff"], form["logged"]) == (asked["id"], True, "", "stored")
    assert form["then"]["answer"] == form["now"]["answer"] == asked["answer"]
    assert form["passages"] == {"identical": True, "compared": "text", "count": 1, "differing": []}
    assert form["retrieval"] == {"identical": True, "chunk_ids": [asked["passages"][0]["chunk_id"]], "note": None}
    assert (await filled.http.get(f"/v1/interactions/{form['id']}")).json()["request"]["replay_of"] == asked["id"]
    assert (await filled.http.post("/v1/interactions/absent/replay")).status_code == 404


async def test_what_can_not_be_replayed_says_why(filled: Api) -> None:
    log = filled.platform.interactions
    asked = await log.get((await ask(filled))["id"])
    await log.append(Redaction({"question": "drop"}).interaction(_renamed(asked, "silent")))
    before = await everything(filled.platform)
    silent = await filled.http.post("/v1/interactions/silent/replay")
    assert (silent.status_code, silent.json()["detail"]) == (
        409,
        "The question was not kept (interactions.redact), so it can't be asked again.",
    )
    assert await everything(filled.platform) == before
    await filled.http.delete(HANDBOOK)
    gone = await filled.http.post(f"/v1/interactions/{asked.id}/replay")
    assert (gone.status_code, gone.json()["type"]) == (410, "urn:ragstone:problem:gone")


def _renamed(asked: Interaction, id_: str) -> Interaction:
    return replace(asked, id=id_)


async def test_impact_lists_answers_with_old_and_new_text(filled: Api) -> None:
    first, second = await ask(filled), await ask(filled)
    await filled.ingest({"path": "fares.txt", "text": "A bicycle ticket costs nine crowns."})
    answer = await filled.http.get(f"{HANDBOOK}/impact", params={"from": "#1", "to": "head", "limit": 1})
    assert answer.status_code == 200, answer.text
    form = answer.json()
    assert (form["from"]["position"], form["to"]["position"], form["documents"], form["next"]) == (1, 2, 1, second["id"])
    [affected] = form["answers"]
    assert (affected["id"], affected["question"]) == (second["id"], ASKED["question"])
    assert affected["citations"] == [
        {
            "citation": second["answer"]["citations"][0],
            "document": "changed",
            "old_text": "A bicycle ticket costs four crowns.",
            "new_text": "A bicycle ticket costs nine crowns.",
        }
    ]
    rest = (await filled.http.get(f"{HANDBOOK}/impact", params={"from": "#1", "to": "#2", "before": form["next"]})).json()
    assert ([one["id"] for one in rest["answers"]], rest["next"]) == ([first["id"]], None)
    for query, status in (({"from": "#1"}, 422), ({"from": "#1", "to": "#9"}, 404)):
        assert (await filled.http.get(f"{HANDBOOK}/impact", params=query)).status_code == status


class DeferringLog(InMemoryInteractionLog):
    """Defers everything."""

    async def append(self, interaction: Interaction) -> Logged:
        await super().append(interaction)
        return "deferred"

    async def deferred(self) -> int:
        return len(await self.page(InteractionFilter()))


async def test_a_deferred_answer_says_so_everywhere(tmp_path: Path) -> None:
    async with serve(fake_platform(interactions=DeferringLog()), Settings(data_dir=tmp_path / "data")) as api:
        await api.ingest(FARES)
        assert (await ask(api))["logged"] == "deferred"
        stream = await api.http.post("/query", json={**ASKED, "stream": True})
        assert '"logged":"deferred"' in stream.text
        chat = {"model": "ragstone/handbook", "messages": [{"role": "user", "content": ASKED["question"]}]}
        assert (await api.http.post("/v1/chat/completions", json=chat)).json()["ragstone"]["logged"] == "deferred"
        metrics = (await api.http.get("/metrics")).text
        for line in (
            "ragstone_interactions_deferred_total 3.0",
            "ragstone_interactions_logged_total 0.0",
            "ragstone_interactions_spooled 3.0",
        ):
            assert line in metrics


class FullSpool(InMemoryInteractionLog):
    """Neither log nor spool takes anything."""

    async def append(self, interaction: Interaction) -> Logged:
        await asyncio.sleep(0)
        raise Unavailable(
            "The interaction log does not answer and the spool is full; make the log answer, then ask again.", retry_after=30.0
        )


async def test_a_question_that_can_not_be_logged_fails(tmp_path: Path) -> None:
    async with serve(fake_platform(interactions=FullSpool()), Settings(data_dir=tmp_path / "data")) as api:
        await api.ingest(FARES)
        answer = await api.http.post("/query", json=ASKED)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
