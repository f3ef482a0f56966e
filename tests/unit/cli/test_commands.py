"""Every other command that talks to the API, over the fakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ragstone.adapters.extractive import ExtractiveGenerator
from ragstone.cli import ask, audit, collections, documents, history, interactions, jobs, retention
from ragstone.cli.ingest import ingest
from ragstone.domain.errors import Unavailable
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.generator import ScriptedGenerator
from tests.fakes.platform import fake_platform
from tests.fakes.reranker import WordOverlapReranker
from tests.unit.cli.conftest import Shell

Tree = Callable[..., Path]
HOSTILE = "# Alpha\n\nAlpha is \x1b[2J\x1b]0;owned\x07 the [bold]first[/bold] letter.\n"


@pytest.fixture
async def filled(shell: Shell, tree: Tree) -> Shell:
    """Two commits: v1 has a.md and b.md; in v2 b.md is changed."""
    root = tree("docs", {"a.md": HOSTILE, "b.md": "# Beta\n\nBeta is the second letter.\n"})
    await shell(ingest, [root], "docs", message="first")
    await shell(history.tag, "docs", "v1")
    tree("docs", {"b.md": "# Beta\n\nBeta is a letter of the Greek alphabet.\n"})
    await shell(ingest, [root], "docs", message="second")
    return shell


async def test_ask_prints_answer_citations_and_commit(filled: Shell) -> None:
    ran = await filled(ask.ask, "What is Alpha?", "docs")
    response = (await filled(ask.ask, "What is Alpha?", "docs", as_json=True)).json
    assert ran.out.startswith(response["answer"]["text"].replace("\x1b", "").replace("\x07", ""))
    [citation] = response["answer"]["citations"]
    assert f"[{citation['marker']}] {citation['path']}" in ran.out
    assert f"characters {citation['start']}-{citation['end']}" in ran.out
    assert f"docs #2 ({response['snapshot']['commit_id'][:12]})" in ran.out
    assert f"release {response['release']['id'][:12]}" in ran.out
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out


async def test_a_streamed_answer_prints_the_same(filled: Shell) -> None:
    whole = (await filled(ask.ask, "What is Alpha?", "docs")).out
    streamed = (await filled(ask.ask, "What is Alpha?", "docs", stream=True)).out
    assert streamed.split("interaction")[0] == whole.split("interaction")[0]


async def test_an_answer_without_its_generator_says_so(shell: Shell, tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    generator = ScriptedGenerator(["Beta, I th"], error=Unavailable("gone"))
    platform = fake_platform(generator=generator, fallback=ExtractiveGenerator(HashingEmbeddingModel(32)))
    await platform.start()
    degraded = Shell(replace(shell.world, platform=platform), capsys)
    await degraded(ingest, [tree("docs", {"a.md": HOSTILE, "b.md": "# Beta\n\nBeta is a letter of the Greek alphabet.\n"})], "docs")
    ran = await degraded(ask.ask, "What is Alpha?", "docs")
    assert "The generator is down: the answer is made of quotations instead." in ran.out
    assert "Beta" not in ran.out
    streamed = (await degraded(ask.ask, "What is Alpha?", "docs", stream=True)).out
    assert streamed.startswith("Beta, I th\n\nThe generator broke off; what it wrote so far is void.")
    assert "made of quotations" in streamed
    [first, *_] = (await degraded(interactions.list_, as_json=True)).json["interactions"]
    assert "made without" in (await degraded(interactions.show, first["id"])).out
    await platform.adapters.queue.stop(0)


async def test_reranking_is_asked_for_shown_and_missed(shell: Shell, tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    platform = fake_platform(reranker=(reranker := WordOverlapReranker()))
    await platform.start()
    reranked = Shell(replace(shell.world, platform=platform), capsys)
    await reranked(ingest, [tree("docs", {"a.md": "# Alpha\n\nAlpha is a letter.\n", "b.md": "# Beta\n\nBeta is a letter.\n"})], "docs")
    for words in (ask.ask, ask.search):
        assert "rerank" not in (await reranked(words, "What is Alpha?", "docs", explain=True)).out
        assert reranker.asked == []
        told = (await reranked(words, "What is Alpha?", "docs", explain=True, rerank=5)).out
        assert re.search(r"rank +rerank +fused", told)
        assert len(reranker.asked.pop()[1]) == 2
    reranker.error = Unavailable("gone")
    for words in (ask.ask, ask.search):
        assert (
            "The reranker is down: passages are in the order of the search."
            in (await reranked(words, "What is Alpha?", "docs", rerank=5)).out
        )
    refused = await reranked(ask.search, "What is Alpha?", "docs", rerank=101)
    assert (refused.status, refused.problem and refused.problem["field"]) == (1, "rerank")
    await platform.adapters.queue.stop(0)


async def test_streamed_json_is_one_event_a_line(filled: Shell) -> None:
    out = (await filled(ask.ask, "What is Alpha?", "docs", stream=True, as_json=True)).out
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events][:1] == ["passages"]
    assert [event["event"] for event in events][-1:] == ["answer"]
    assert "".join(event["text"] for event in events if event["event"] == "delta") == events[-1]["answer"]["text"]


async def test_an_abstention_is_said_plainly(filled: Shell) -> None:
    ran = await filled(ask.ask, "What is Alpha?", "docs", filter_=["path=nowhere.md"])
    assert "does not hold an answer" in ran.out
    assert "Not in the knowledge base as of docs #2" in ran.out


async def test_as_of_answers_from_the_past(filled: Shell) -> None:
    old = (await filled(ask.search, "Beta", "docs", as_of="v1", as_json=True)).json
    new = (await filled(ask.search, "Beta", "docs", as_json=True)).json
    assert old["snapshot"]["position"] == 1
    assert "second letter" in " ".join(passage["text"] for passage in old["passages"])
    assert "Greek" in " ".join(passage["text"] for passage in new["passages"])


async def test_search_shows_passages_and_with_explain_their_scores(filled: Shell) -> None:
    ran = await filled(ask.search, "Greek alphabet", "docs", explain=True, filter_json='{"path": {"prefix": "b"}}')
    assert ran.out.startswith("1. b.md, Beta")
    assert "rank  fused  dense  (rank)" in ran.out
    assert "1 passages of docs #2" in ran.out


async def test_log_show_and_diff_tell_what_changed(filled: Shell) -> None:
    log = (await filled(history.log, "docs")).out.splitlines()
    assert [line.split()[0] for line in log[1:]] == ["#2", "#1"]
    assert "~1" in log[1]
    assert log[2].endswith("+2         v1    first")
    shown = (await filled(history.show, "head", "docs")).out
    assert "message   second" in shown
    assert "~ b.md\n1 documents differ; chunks: 1 added, 1 removed, 1 kept" in shown
    diff = (await filled(history.diff, "v1", "#2", "docs", as_json=True)).json
    assert diff["documents"] == [{"path": "b.md", "kind": "changed"}]


async def test_rollback_is_a_new_commit_that_embeds_nothing(filled: Shell) -> None:
    ran = await filled(history.rollback, "v1", "docs")
    assert ran.out.startswith("docs: published, head is #3")
    assert "1 changed; 0 chunks embedded" in ran.out


async def test_tags_are_made_listed_and_removed(filled: Shell) -> None:
    assert (await filled(history.tag, "docs", "good", "#1", as_json=True)).json["name"] == "good"
    assert {tag["name"] for tag in (await filled(history.tag, "docs", as_json=True)).json["tags"]} == {"v1", "good"}
    assert (await filled(history.tag, "docs", "good", delete=True)).out == "Removed the tag good.\n"
    assert (await filled(history.tag, "docs", "good", delete=True)).problem is not None
    assert (await filled(history.tag, "docs", delete=True)).problem is not None


async def test_delete_and_move_are_commits(filled: Shell) -> None:
    moved = await filled(documents.move, "b.md", "new/b.md", "docs")
    assert "1 added, 1 removed; 0 chunks embedded" in moved.out
    deleted = await filled(documents.delete, "docs", ["a.md"], prefix=["new/"], as_json=True)
    assert deleted.json["result"]["stats"]["documents_removed"] == 2
    assert (await filled(documents.list_, "docs")).out.splitlines()[1:] == []
    assert len((await filled(documents.list_, "docs", as_of="v1")).out.splitlines()) == 3


async def test_deleting_what_is_not_there_changes_nothing(filled: Shell) -> None:
    ran = await filled(documents.delete, "docs", ["a.md", "gone.md"])
    assert ran.problem is not None
    assert ran.problem["status"] == 404
    assert "gone.md" in ran.problem["detail"]
    assert (await filled(collections.show, "docs", as_json=True)).json["documents"] == 2


async def test_documents_are_listed_shown_and_printed(filled: Shell) -> None:
    lines = (await filled(documents.list_, "docs", prefix="b", as_json=True)).out.splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["b.md"]
    shown = (await filled(documents.show, "a.md", "docs")).out
    assert "title     Alpha" in shown
    assert "\x1b" not in shown
    chunks = (await filled(documents.cat, "b.md", "docs", form=documents.Form.chunks, as_of="v1")).out
    assert "Beta is the second letter." in chunks


async def test_collections_are_made_shown_and_deleted(filled: Shell) -> None:
    await filled(collections.create, "notes", language="german", description="Notes")
    rows = (await filled(collections.list_)).out.splitlines()
    assert rows[1].split()[:2] == ["docs", "#2"]
    assert rows[2].split() == ["notes", "empty", "0", "0", "german", "Notes"]
    refused = await filled(collections.delete, "notes")
    assert refused.problem is not None
    assert "--yes" in refused.problem["detail"]
    assert (await filled(collections.delete, "notes", yes=True)).out == "Deleted notes.\n"
    assert len((await filled(collections.list_, as_json=True)).json["collections"]) == 1


async def test_jobs_are_listed_shown_and_followed(filled: Shell) -> None:
    listed = (await filled(jobs.jobs, as_json=True)).json["jobs"]
    assert [job["state"] for job in listed] == ["published", "published"]
    shown = (await filled(jobs.jobs, listed[0]["id"])).out
    assert "documents changed  1" in shown
    followed = (await filled(jobs.jobs, listed[0]["id"], follow=True, as_json=True)).out.splitlines()
    assert json.loads(followed[-1])["state"] == "published"
    assert (await filled(jobs.jobs, "nope")).problem is not None


async def test_interactions_are_listed_shown_and_judged(filled: Shell) -> None:
    asked = (await filled(ask.ask, "What is Alpha?", "docs", as_json=True)).json["id"]
    assert asked in (await filled(interactions.list_)).out
    assert (await filled(interactions.feedback, asked, up=True, down=True)).problem is not None
    assert (await filled(interactions.feedback, asked)).problem is not None
    assert (await filled(interactions.feedback, asked, up=True, comment="just right", tag=["demo"])).status == 0
    shown = (await filled(interactions.show, asked)).out
    assert shown.startswith("What is Alpha?\n")
    assert "up, just right, demo" in shown


async def test_an_error_is_the_servers_problem_document(filled: Shell) -> None:
    ran = await filled(ask.ask, "What?", "nowhere")
    assert ran.problem is not None
    assert ran.problem["type"] == "urn:ragstone:problem:not-found"
    assert ran.problem["status"] == 404
    streamed = await filled(ask.ask, "What?", "nowhere", stream=True)
    assert streamed.problem is not None
    assert streamed.problem["status"] == 404


async def test_prune_says_what_goes(filled: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.use_cases.retention.GRACE", 0.0)
    await filled(history.tag, "docs", "v1", delete=True)
    planned = await filled(retention.prune, "docs", keep_last=1, dry_run=True)
    assert "1 commits would go, 1 kept" in planned.out
    done = await filled(retention.prune, "docs", keep_last=1)
    assert "1 commits gone, 1 kept; 1 points" in done.out
    assert "(pruned)" in (await filled(history.log, "docs")).out


async def test_purge_asks_for_yes_and_leaves_a_record(filled: Shell) -> None:
    assert (await filled(retention.purge, "a.md", "docs")).status == 1
    assert "Erased a.md from 2 commits" in (await filled(retention.purge, "a.md", "docs", yes=True, reason="a letter")).out
    assert "a letter" in (await filled(retention.purges, "docs")).out


async def test_if_match_refuses_a_change_of_what_has_changed_since(filled: Shell, tree: Tree) -> None:
    [second, first] = (await filled(history.log, "docs", as_json=True)).json["commits"]
    refused = (await filled(documents.delete, "docs", ["b.md"], if_match=first["id"])).problem
    assert refused is not None
    assert (refused["status"], refused["head"]["id"], refused["conflicts"]) == (412, second["id"], {"paths": ["b.md"], "count": 1})
    moved = await filled(documents.move, "a.md", "c.md", "docs", if_match=first["id"][:7])
    assert "published" in moved.out
    for wrong in ("v1", "ü"):
        assert "--if-match" in str((await filled(documents.delete, "docs", ["c.md"], if_match=wrong)).problem)
    root = tree("docs", {"b.md": "Otherwise."})
    for ran in (
        await filled(ingest, [root], "docs", if_match=first["id"]),
        await filled(ingest, [root], "docs", if_match=second["id"], mirror=True),
        await filled(history.rollback, "v1", "docs", if_match=second["id"]),
    ):
        assert ran.problem is not None
        assert ran.problem["status"] == 412


async def test_audit_lists_who_changed_what(filled: Shell) -> None:
    entries = (await filled(audit.audit, as_json=True)).json["entries"]
    assert [one["what"] for one in entries] == ["POST /ingest", "POST /v1/collections/{collection}/tags", "POST /ingest"]
    assert {(one["principal"], one["collection"]) for one in entries} == {("local", "docs")}
    ran = await filled(audit.audit, collection="docs", limit=1)
    assert "POST /ingest" in ran.out
    assert "local" in ran.out
    assert (await filled(audit.audit, principal="nobody")).out == "None is like that.\n"
