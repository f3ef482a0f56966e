"""Documents with groups: whoever is in none of them learns neither their text, nor their names, nor how many there are, by any route."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone.domain.access import Principal, parse_scopes
from ragstone.domain.builds import Build
from ragstone.domain.errors import Unavailable
from ragstone.domain.ids import new_id
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.model import Settings
from tests.api.conftest import Api
from tests.fakes.authenticator import KnownKeys
from tests.fakes.platform import fake_platform
from tests.fakes.reranker import WordOverlapReranker

PEOPLE = {
    "root": Principal("root", *parse_scopes("admin")),
    "hanna": Principal("hanna", *parse_scopes("handbook=write"), groups=frozenset({"hr"})),
    "otto": Principal("otto", *parse_scopes("handbook=write"), groups=frozenset({"ops"})),
    "gast": Principal("gast", *parse_scopes("read")),
    "chef": Principal("chef", *parse_scopes("handbook=admin")),
}
OPEN = {"path": "harbour.md", "text": "The harbour opens at six.\n\nBoats are washed on Monday."}
WAGES = {"path": "hr/wages.md", "text": "Zanzibar wages rise by nine percent.\n\nQuokka bonus is paid in May.", "groups": ["hr"]}
SECRETS = ("wages", "zanzibar", "quokka", "bonus")
CHANGED = {"path": "hr/wages.md", "text": "Zanzibar wages rise by two percent.\n\nQuokka bonus is gone."}
QUESTION = "How far do Zanzibar wages rise?"


def by(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    platform = fake_platform(reranker=WordOverlapReranker())
    await platform.start()
    app = create_app(platform, Settings(data_dir=Path("data")), KnownKeys(dict(PEOPLE)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://rag.example.org", headers=by("root")) as http:
        served = Api(http, platform)
        await served.ingest(OPEN, WAGES)
        yield served
    await platform.adapters.queue.stop(1)


async def ask(api: Api, who: str, question: str = QUESTION, **more: Any) -> httpx.Response:
    return await api.http.post("/query", json={"collection": "handbook", "question": question, **more}, headers=by(who))


async def paths(api: Api, who: str, **params: str) -> list[str]:
    answer = await api.http.get("/v1/collections/handbook/documents", params=params, headers=by(who))
    return [document["path"] for document in answer.json()["documents"]]


async def everything_told(api: Api, who: str) -> str:
    """The texts of every answer that a reader gets by any route, to questions that do not name the secrets themselves."""
    jobs = await api.platform.ingest.jobs()
    logged = (await api.http.get("/v1/interactions")).json()["interactions"]
    collection = "/v1/collections/handbook"
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/v1/collections", None),
        ("GET", collection, None),
        ("GET", f"{collection}/documents", None),
        ("GET", f"{collection}/documents?as_of=%231", None),
        ("GET", f"{collection}/documents?prefix=h&limit=1", None),
        ("GET", f"{collection}/commits", None),
        ("GET", f"{collection}/commits/head", None),
        ("GET", f"{collection}/commits/%231", None),
        ("GET", f"{collection}/commits/%231/diff/head", None),
        ("GET", f"{collection}/impact?from=%231&to=head", None),
        ("GET", f"{collection}/tags", None),
        ("GET", "/v1/jobs", None),
        ("GET", "/v1/jobs?collection=handbook", None),
        ("GET", "/v1/interactions", None),
        ("GET", "/v1/interactions?collection=handbook", None),
        ("GET", "/v1/interactions/export?collection=handbook", None),
        ("GET", "/v1/models", None),
        ("GET", "/v1/info", None),
        ("GET", "/metrics", None),
        ("POST", "/v1/search", {"collection": "handbook", "question": "What rises in May?", "top_k": 50, "neighbours": 5, "explain": True}),
        ("POST", "/v1/search", {"collection": "handbook", "question": "What rises in May?", "as_of": "#1"}),
        ("POST", "/v1/search", {"collection": "handbook", "question": "What rises in May?", "rerank": 50, "explain": True}),
        ("POST", "/query", {"collection": "handbook", "question": "What rises in May?", "abstain": False, "neighbours": 2}),
        ("POST", "/query", {"collection": "handbook", "question": "What rises in May?", "abstain": False, "stream": True}),
        (
            "POST",
            "/v1/chat/completions",
            {"model": "ragstone/handbook", "messages": [{"role": "user", "content": "What rises in May?"}]},
        ),
        *(("GET", f"/v1/jobs/{job.id}", None) for job in jobs),
        *(("GET", f"/v1/jobs/{job.id}/events", None) for job in jobs),
        *(("GET", f"/v1/interactions/{one['id']}", None) for one in logged),
        *(("POST", f"/v1/interactions/{one['id']}/replay", None) for one in logged),
        *(("POST", f"/v1/interactions/{one['id']}/feedback", {"thumb": 1}) for one in logged),
        ("POST", "/ingest", {"collection": "handbook", "dry_run": True, "documents": [{"path": "new.md", "text": WAGES["text"]}]}),
        ("GET", f"{collection}/acls", None),
    ]
    told = []
    for method, place, body in asked:
        answer = await api.http.request(method, place, json=body, headers=by(who))
        assert answer.status_code < 500, (method, place, answer.text)
        told.append(answer.text)
    return "\n".join(told).lower()


async def test_who_is_in_none_of_the_groups_learns_nothing_by_any_route(api: Api) -> None:
    await api.http.post("/ingest", json={"collection": "handbook", "documents": [CHANGED], "message": "About hr/wages.md"})
    for who in ("root", "hanna", "otto"):
        assert (await ask(api, who)).status_code == 200
    told = await everything_told(api, "root")
    assert all(secret in told for secret in SECRETS)
    told = await everything_told(api, "hanna")
    assert all(secret in told for secret in SECRETS)
    for who in ("otto", "gast"):
        told = (await everything_told(api, who)).replace(QUESTION.lower(), "")  # which otto asked himself
        assert [secret for secret in SECRETS if secret in told] == [], who


async def test_a_build_is_told_to_those_who_may_see_the_whole_collection(api: Api) -> None:
    job_id = new_id()
    other = replace((await api.platform.collections.get("handbook")).spaces[0], parsers=("text/2",))
    await api.platform.adapters.catalog.begin_build("handbook", Build(job_id, other, "otto", "preparing"))
    for who, sees in (("root", True), ("chef", True), ("hanna", True), ("otto", False), ("gast", False)):
        for place in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/events"):
            if not sees:
                hidden = await api.http.get(place, headers=by(who))
                absent = await api.http.get(place.replace(job_id, "0" * 26), headers=by(who))
                assert (hidden.status_code, hidden.json()["title"]) == (404, absent.json()["title"]), (who, place)
                assert hidden.json()["detail"] == absent.json()["detail"].replace("0" * 26, job_id)
        assert (await api.http.get(f"/v1/jobs/{job_id}", headers=by(who))).status_code == (200 if sees else 404), who
        told = (await api.http.get("/v1/jobs", headers=by(who))).json()["jobs"]
        assert (job_id in [job["id"] for job in told]) is sees, who


async def test_texts_that_may_not_be_seen_are_not_sent_to_the_reranker(api: Api) -> None:
    reranker = api.platform.adapters.reranker
    assert isinstance(reranker, WordOverlapReranker)
    for who, sees in (("otto", False), ("gast", False), ("hanna", True), ("chef", True)):
        reranker.asked.clear()
        asked = {"collection": "handbook", "question": "What rises in May?", "rerank": 50}
        assert (await api.http.post("/v1/search", json=asked, headers=by(who))).status_code == 200
        assert (await ask(api, who, "What rises in May?", rerank=50)).status_code == 200
        sent = " ".join(text for _, texts in reranker.asked for text in texts).lower()
        assert "harbour" in sent
        assert any(secret in sent for secret in SECRETS) is sees, who


async def test_a_hidden_document_is_told_as_one_that_is_not_there(api: Api) -> None:
    for as_of in (None, "#1", "head"):
        for form in ("json", "text", "original", "chunks"):
            params = {"form": form, **({"as_of": as_of} if as_of else {})}
            hidden = await api.http.get("/v1/collections/handbook/documents/hr/wages.md", params=params, headers=by("otto"))
            absent = await api.http.get("/v1/collections/handbook/documents/hr/nages.md", params=params, headers=by("otto"))
            told = [
                (one.status_code, one.text.replace("nages", "wages").replace(one.headers["x-request-id"], "")) for one in (hidden, absent)
            ]
            assert told[0] == told[1]
            assert hidden.status_code == 404
    shown = await api.http.get("/v1/collections/handbook/documents/hr/wages.md", headers=by("hanna"))
    assert shown.json()["text"] == WAGES["text"]


async def test_counts_that_would_include_hidden_documents_are_null(api: Api) -> None:
    mine = (await api.http.get("/v1/collections/handbook", headers=by("otto"))).json()
    assert (mine["documents"], mine["chunks"], mine["head"]["stats"]) == (None, None, None)
    theirs = (await api.http.get("/v1/collections/handbook", headers=by("hanna"))).json()
    assert (theirs["documents"], theirs["head"]["stats"]["documents_added"]) == (2, 2)
    shown = (await api.http.get("/v1/collections/handbook/commits/head", headers=by("otto"))).json()
    assert ([one["path"] for one in shown["documents"]], shown["chunks_kept"]) == (["harbour.md"], None)
    assert {chunk["path"] for chunk in shown["chunks_added"]} == {"harbour.md"}


async def test_the_current_groups_decide_for_every_commit(api: Api) -> None:
    await api.http.post("/ingest", json={"collection": "handbook", "documents": [CHANGED]})
    assert await paths(api, "otto", as_of="#1") == ["harbour.md"]
    opened = await api.http.delete("/v1/collections/handbook/acls/hr/wages.md", headers=by("chef"))
    assert opened.status_code == 204
    assert await paths(api, "otto", as_of="#1") == ["harbour.md", "hr/wages.md"]
    found = await api.http.post(
        "/v1/search", json={"collection": "handbook", "question": "Zanzibar wages", "as_of": "#1"}, headers=by("otto")
    )
    assert "nine percent" in found.text
    await api.http.put("/v1/collections/handbook/acls/hr/wages.md", json={"groups": ["legal"]}, headers=by("chef"))
    assert await paths(api, "hanna", as_of="#1") == await paths(api, "otto") == ["harbour.md"]
    assert await paths(api, "root") == await paths(api, "chef") == ["harbour.md", "hr/wages.md"]


async def test_bm25_and_scores_are_those_of_a_collection_without_the_hidden_documents(api: Api) -> None:
    body = {"collection": "handbook", "question": "When are boats washed by percent wages?", "explain": True}
    mine = (await api.http.post("/v1/search", json=body, headers=by("otto"))).json()["passages"]
    await api.ingest(OPEN, collection="twin")
    twin = (await api.http.post("/v1/search", json={**body, "collection": "twin"})).json()["passages"]
    assert [(one["text"], one["explain"]) for one in mine] == [(one["text"], one["explain"]) for one in twin]


async def test_what_the_index_has_not_learnt_yet_is_held_back_by_the_second_barrier(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("The index is away.")

    assert "harbour.md" in (await ask(api, "gast", "When does the harbour open?", abstain=False)).text
    monkeypatch.setattr(api.platform.adapters.index, "set_groups", away)
    put = await api.http.put("/v1/collections/handbook/acls/harbour.md", json={"groups": ["ops"]})
    assert put.status_code == 503
    for who, seen in (("gast", False), ("hanna", False), ("otto", True)):
        assert ("harbour.md" in (await ask(api, who, "When does the harbour open?", abstain=False)).text) is seen, who
        assert ("harbour.md" in await paths(api, who)) is seen
    monkeypatch.undo()
    await api.platform.visibility.sweep()
    assert await api.platform.adapters.acls.collections() == []
    head = await api.head()
    assert head is not None
    [collection] = [one for one in await api.platform.collections.all() if one.name == "handbook"]
    index = collection.index_name(head.space_id)
    assert await api.platform.adapters.index.count_visible(index, head.seq, head.gaps, groups=frozenset()) == 0


async def test_who_is_shut_out_while_an_answer_is_made_does_not_get_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    visibility = api.platform.visibility
    find = api.platform.search.find

    async def late(*args: Any, **options: Any) -> Any:
        found = await find(*args, **options)
        await visibility.change("handbook", {"hr/wages.md": ["legal"]})
        return found

    monkeypatch.setattr(api.platform.search, "find", late)
    answer = await ask(api, "hanna")
    assert answer.status_code == 410
    assert (await api.http.get("/v1/interactions", headers=by("root"))).json()["interactions"] == []


async def test_nobody_replaces_moves_or_removes_what_is_hidden_from_them(api: Api) -> None:
    change = {"collection": "handbook"}
    place = "/v1/collections/handbook/documents/hr/wages.md"
    refused = [
        await api.http.post("/ingest", json={**change, "documents": [CHANGED]}, headers=by("otto")),
        await api.http.post("/ingest", json={**change, "documents": [CHANGED], "dry_run": True}, headers=by("otto")),
        await api.http.put(place, content=b"mine now", headers=by("otto")),
        await api.http.delete(place, headers=by("otto")),
        await api.http.post("/v1/collections/handbook/moves", json={"source": "hr/wages.md", "target": "x.md"}, headers=by("otto")),
        await api.http.post("/v1/collections/handbook/moves", json={"source": "harbour.md", "target": "hr/wages.md"}, headers=by("otto")),
        await api.http.post("/ingest", json={**change, "deletes": [{"prefix": "nothing/"}]}, headers=by("otto")),
        await api.http.post("/ingest", json={**change, "documents": [OPEN], "mirror": True}, headers=by("otto")),
        await api.http.post("/v1/collections/handbook/rollback", json={"to": "#1"}, headers=by("otto")),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    head = await api.head()
    assert head is not None
    assert head.position == 1
    assert (await api.http.put(place, content=b"Wages are secret.", headers=by("hanna"))).status_code == 200


async def test_writers_give_groups_to_what_has_none_and_admins_change_them(api: Api) -> None:
    def of(path: str, groups: list[str]) -> dict[str, Any]:
        return {"collection": "handbook", "documents": [{"path": path, "text": f"About {path}.", "groups": groups}]}

    assert (await api.http.post("/ingest", json=of("ops/plan.md", ["ops", "night"]), headers=by("otto"))).status_code == 200
    assert await paths(api, "otto") == ["harbour.md", "ops/plan.md"]
    assert "ops/plan.md" not in await paths(api, "hanna")
    again = await api.http.post("/ingest", json=of("ops/plan.md", ["night", "ops"]), headers=by("otto"))
    assert again.json()["job"]["state"] == "unchanged"
    other = await api.http.post("/ingest", json=of("ops/plan.md", ["ops"]), headers=by("otto"))
    opened = await api.http.post("/ingest", json=of("ops/plan.md", []), headers=by("otto"))
    foreign = await api.http.post("/ingest", json=of("gift.md", ["hr"]), headers=by("otto"))
    wrong = await api.http.post("/ingest", json=of("x.md", ["no group!"]), headers=by("chef"))
    assert [one.status_code for one in (other, opened, foreign, wrong)] == [403, 403, 422, 422]
    assert (await api.http.post("/ingest", json=of("ops/plan.md", ["hr"]), headers=by("chef"))).status_code == 200
    assert "ops/plan.md" in await paths(api, "hanna")
    assert await paths(api, "otto") == ["harbour.md"]


async def test_groups_of_a_form_count_for_all_of_its_documents(api: Api) -> None:
    files = {"file": ("ops/list.md", b"A list of ropes.", "text/markdown")}
    options = json.dumps({"collection": "handbook", "groups": ["ops"]})
    sent = await api.http.post("/ingest", files=files, data={"options": options}, headers=by("otto"))
    assert sent.status_code == 200, sent.text
    assert "ops/list.md" not in await paths(api, "gast")
    lines = "\n".join(json.dumps({"_id": f"{number}", "title": "t", "text": f"Line {number}."}) for number in range(2))
    document = {"path": "lines.jsonl", "text": lines, "groups": ["ops"]}
    await api.http.post("/ingest", json={"collection": "handbook", "documents": [document]}, headers=by("otto"))
    acls = (await api.http.get("/v1/collections/handbook/acls", headers=by("chef"))).json()["acls"]
    assert len(acls) == 4
    assert await paths(api, "gast") == ["harbour.md"]


async def test_a_moved_document_takes_its_groups_along(api: Api) -> None:
    move = {"source": "hr/wages.md", "target": "pay.md"}
    assert (await api.http.post("/v1/collections/handbook/moves", json=move, headers=by("hanna"))).status_code == 200
    assert await paths(api, "hanna") == ["harbour.md", "pay.md"]
    assert await paths(api, "otto") == ["harbour.md"]
    assert (await api.http.get("/v1/collections/handbook/acls/pay.md")).json() == {"path": "pay.md", "groups": ["hr"]}
    taken = await api.http.post("/v1/collections/handbook/moves", json={"source": "pay.md", "target": "harbour.md"}, headers=by("hanna"))
    assert taken.status_code == 409
    assert "harbour.md" in await paths(api, "otto")  # a move that failed hides nothing


async def test_a_deleted_document_keeps_its_groups_and_a_deleted_collection_does_not(api: Api) -> None:
    await ask(api, "root")
    await ask(api, "gast", "When does the harbour open?", abstain=False)
    await api.http.delete("/v1/collections/handbook/documents/hr/wages.md")
    assert await paths(api, "otto", as_of="#1") == ["harbour.md"]
    assert len((await api.http.get("/v1/interactions", headers=by("gast"))).json()["interactions"]) == 1
    [handbook] = await api.platform.collections.all()
    await api.http.delete("/v1/collections/handbook")
    assert await api.platform.adapters.acls.every(handbook.uid) == (0, {})
    for again in (False, True):  # the groups are gone: what was answered from that collection is its admins' alone
        if again:
            await api.ingest(OPEN)
        assert (await api.http.get("/v1/interactions", headers=by("gast"))).json()["interactions"] == []
        assert len((await api.http.get("/v1/interactions", headers=by("root"))).json()["interactions"]) == 2


async def test_jobs_of_others_are_not_shown_and_ones_own_without_what_they_would_tell(api: Api) -> None:
    body = {"collection": "handbook", "documents": [{"path": "copy.md", "text": WAGES["text"]}]}
    mine = (await api.http.post("/ingest", json=body, headers=by("otto"))).json()["job"]
    stats = mine["result"]["stats"]
    assert (stats["documents_added"], stats["chunks_added"] > 0) == (1, True)
    assert [stats[name] for name in ("documents", "chunks", "chunks_embedded", "chunks_reused")] == [None] * 4
    planned = await api.http.post("/ingest", json={**body, "dry_run": True}, headers=by("otto"))
    assert planned.json()["plan"]["chunks_to_embed"] is None
    listed = (await api.http.get("/v1/jobs", headers=by("otto"))).json()["jobs"]
    assert [one["id"] for one in listed] == [mine["id"]]
    assert len((await api.http.get("/v1/jobs", headers=by("hanna"))).json()["jobs"]) == 2
    await api.http.put("/v1/collections/handbook/acls/copy.md", json={"groups": ["hr"]})
    assert (await api.http.get(f"/v1/jobs/{mine['id']}", headers=by("otto"))).status_code == 404


async def test_an_answer_whose_question_or_filter_names_a_hidden_document_is_not_shown(api: Api) -> None:
    await ask(api, "root", "Is there anything?", filter={"path": {"in": ["hr/wages.md"]}, "team": "none"})
    await ask(api, "root", "What was in hr/wages.md?", filter={"team": "none"})
    assert len((await api.http.get("/v1/interactions", headers=by("hanna"))).json()["interactions"]) == 2
    assert (await api.http.get("/v1/interactions", headers=by("otto"))).json()["interactions"] == []


async def test_pages_go_on_over_what_is_hidden(api: Api) -> None:
    documents = [{"path": f"{n:02}.md", "text": f"Number {n}.", "groups": ["hr"] if n % 3 else None} for n in range(20)]
    await api.ingest(*documents)
    found: list[str] = []
    after = ""
    while True:
        answer = await api.http.get("/v1/collections/handbook/documents", params={"limit": 3, "after": after}, headers=by("otto"))
        page = answer.json()
        found += [document["path"] for document in page["documents"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert found == [f"{n:02}.md" for n in range(0, 20, 3)] + ["harbour.md"]


async def test_groups_are_listed_read_set_and_taken_away_by_admins_of_the_collection(api: Api) -> None:
    acls = "/v1/collections/handbook/acls"
    await api.http.put(f"{acls}/later/x.md", json={"groups": ["b", "a", "a"]}, headers=by("chef"))
    first = (await api.http.get(acls, params={"limit": 1}, headers=by("chef"))).json()
    assert first == {"acls": [{"path": "hr/wages.md", "groups": ["hr"]}], "next": "hr/wages.md"}
    assert (await api.http.get(acls, params={"prefix": "later/"})).json()["acls"] == [{"path": "later/x.md", "groups": ["a", "b"]}]
    for who in ("hanna", "otto"):
        for method in ("GET", "PUT", "DELETE"):
            answer = await api.http.request(method, f"{acls}/hr/wages.md", json={"groups": []}, headers=by(who))
            assert answer.status_code == 403
    assert (await api.http.put(f"{acls}/x.md", json={"groups": ["no group!"]})).status_code == 422
    assert (await api.http.put(f"{acls}/../x.md", json={"groups": ["a"]})).status_code in (404, 405, 422)
    for _ in range(2):
        assert (await api.http.delete(f"{acls}/later/x.md")).status_code == 204
    assert (await api.http.get(f"{acls}/later/x.md")).status_code == 404


async def test_the_doctor_sets_groups_anew_in_an_index_that_lost_them(api: Api) -> None:
    [handbook] = await api.platform.collections.all()
    head = await api.head()
    assert head is not None
    index, name = api.platform.adapters.index, handbook.index_name(head.space_id)
    await index.set_groups(name, "hr/wages.md", frozenset())
    assert await index.count_visible(name, head.seq, head.gaps, groups=frozenset()) == 2
    assert (await api.http.post("/v1/doctor", json={"repair": True})).status_code == 200
    assert await index.count_visible(name, head.seq, head.gaps, groups=frozenset()) == 1
