"""`ragstone reembed` over the fakes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ragstone.cli import jobs, reembed, retention
from ragstone.cli.ingest import ingest
from tests.unit.cli.conftest import Shell

Tree = Callable[..., Path]


@pytest.fixture
async def filled(shell: Shell, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A collection of two documents; what builds spaces looks often, and needs no grace period."""
    monkeypatch.setattr(reembed, "_LOOK", 0.01)
    shell.world.platform.builder._grace = 0.0
    await shell(ingest, [tree("docs", {"a.md": "# Alpha\n\nThe first.\n", "b.md": "# Beta\n\nThe second.\n"})], "docs")
    return shell


async def test_a_space_is_built_switched_to_and_the_old_one_dropped(filled: Shell) -> None:
    model = filled.world.other.identity.digest
    started = await filled(reembed.start, "docs", to_model=model)
    assert re.search(r": ready, 2/2 documents, (\S+/s, )?2 chunks embedded, 0 reused\.", started.out)
    assert "Questions go on using the old one until `ragstone reembed switch -c docs`." in started.err
    status = (await filled(reembed.status, "docs")).out
    assert "live" in status
    assert "ready" in status
    switched = await filled(reembed.switch, "docs")
    assert "Reads go to the space now: #2" in switched.out
    [live, old] = (await filled(reembed.status, "docs", as_json=True)).json["spaces"]
    assert (live["state"], live["space"]["model"]["digest"], old["state"]) == ("live", model, "old")
    back = await filled(reembed.switch, "docs", space=old["id"][:8], as_json=True)
    assert back.json["result"]["position"] == 3
    await filled(reembed.switch, "docs")
    refused = (await filled(reembed.drop, "docs")).problem
    assert refused is not None
    assert refused["status"] == 409
    await filled(retention.prune, "docs", keep_last=1)
    assert "dropped" in (await filled(reembed.drop, "docs")).out


def test_shards_are_told_before_what_a_narrow_terminal_cuts_off() -> None:
    shard = {"done": 105, "total": 489, "rate": 12.6}
    build = {"documents": 0, "documents_total": 62, "embedded": 0, "reused": 0, "rate": 0.0, "seconds_left": None, "shards": [shard, shard]}
    assert reembed._describe({"state": "filling", "build": build}) == (
        "filling, 0/62 documents, 2 shards 210/978 at 25/s, 0 chunks embedded, 0 reused"
    )


async def test_an_old_space_is_dropped_by_force(filled: Shell) -> None:
    await filled(reembed.start, "docs", to_model=filled.world.other.identity.digest)
    await filled(reembed.switch, "docs")
    refused = (await filled(reembed.drop, "docs")).problem
    assert refused is not None
    assert "1 commits of collection 'docs' that are kept are read from embedding space" in refused["detail"]
    assert "dropped" in (await filled(reembed.drop, "docs", force=True)).out


async def test_a_build_is_given_up(filled: Shell) -> None:
    await filled(reembed.start, "docs", to_model=filled.world.other.identity.digest, wait=False)
    given_up = await filled(reembed.abort, "docs", as_json=True)
    assert given_up.json["state"] == "dropped"
    nothing = (await filled(reembed.abort, "docs")).problem
    assert nothing is not None
    assert "No space is being built" in nothing["detail"]


async def test_a_build_is_listed_shown_and_followed_as_a_job(filled: Shell) -> None:
    builder = filled.world.platform.builder
    await builder.stop()
    model = filled.world.other.identity.digest
    started = await filled(reembed.start, "docs", to_model=model, wait=False)
    [job_id] = re.findall(r"`ragstone jobs (\S+) -f` follows it", started.out)
    listed = (await filled(jobs.jobs)).out.splitlines()
    assert listed[1].split()[:3] == [job_id, "docs", "queued"]
    assert "0/2 documents" in listed[1]
    shown = (await filled(jobs.jobs, job_id)).out
    assert "embedding space " in shown
    assert "queued" in shown
    builder.start()
    followed = await filled(jobs.jobs, job_id, follow=True)
    assert (followed.status, followed.problem) == (0, None)
    assert "chunks embedded  2" in followed.out
    space_id = (await filled(jobs.jobs, job_id, as_json=True)).json["space_id"]
    assert f"embedding space {space_id}: ready" in followed.out
    assert f"embedding space {space_id}: ready" in (await filled(jobs.jobs)).out
    lines = (await filled(jobs.jobs, job_id, follow=True, as_json=True)).out.splitlines()
    assert json.loads(lines[-1])["state"] == "unchanged"


async def test_whoever_follows_a_build_that_is_given_up_gets_an_error(filled: Shell) -> None:
    await filled.world.platform.builder.stop()
    space = (await filled(reembed.start, "docs", to_model=filled.world.other.identity.digest, wait=False, as_json=True)).json
    await filled(reembed.abort, "docs")
    followed = await filled(jobs.jobs, space["build"]["job_id"], follow=True)
    assert followed.status == 1
    assert followed.problem is not None
    assert (followed.problem["type"], followed.problem["status"]) == ("urn:ragstone:problem:gone", 410)
    assert "given up" in followed.problem["detail"]
    assert "given up before it was ready" in (await filled(jobs.jobs)).out


async def test_what_cannot_be_is_said_in_a_sentence(filled: Shell) -> None:
    for ran, status in (
        (await filled(reembed.start, "docs"), 409),
        (await filled(reembed.start, "docs", to_model="absent"), 422),
        (await filled(reembed.switch, "docs"), 404),
        (await filled(reembed.drop, "docs"), 404),
        (await filled(reembed.status, "absent"), 404),
    ):
        assert ran.problem is not None
        assert (ran.status, ran.problem["status"]) == (1, status)


async def test_whoever_waits_hears_that_a_build_was_given_up(filled: Shell) -> None:
    platform = filled.world.platform
    await platform.builder.stop()

    async def given_up(method: str, path: str) -> None:
        if method == "GET":
            await platform.reembedding.abort("docs")
            filled.hooks.clear()

    filled.hooks.append(given_up)
    ran = await filled(reembed.start, "docs", to_model=filled.world.other.identity.digest)
    assert ran.problem is not None
    assert "given up meanwhile" in ran.problem["detail"]
