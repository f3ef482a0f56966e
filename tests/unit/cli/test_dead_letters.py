"""`ragstone dead-letters` over the fakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ragstone.cli import dead_letters
from ragstone.cli.ingest import ingest
from ragstone.domain.errors import Unavailable
from tests.unit.cli.conftest import Shell

Tree = Callable[..., Path]


@pytest.fixture
async def job(shell: Shell, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that was given up."""

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("the index is away.")

    with monkeypatch.context() as patched:
        patched.setattr(shell.world.platform.adapters.index, "flush", away)
        assert (await shell(ingest, [tree("docs", {"a.md": "Alpha.", "b.md": "Beta."})], "docs")).status == 1
    [letter] = (await shell(dead_letters.list_, as_json=True)).json["dead_letters"]
    return str(letter["job"])


async def test_the_list_and_one_letter_are_shown(shell: Shell, job: str) -> None:
    listed = (await shell(dead_letters.list_)).out
    assert job in listed
    assert "the index is away." in listed
    shown = (await shell(dead_letters.show, job)).out
    assert "a.md" in shown
    assert "b.md" in shown
    assert (await shell(dead_letters.show, job, as_json=True)).json["paths"] == ["a.md", "b.md"]
    assert (await shell(dead_letters.list_, collection="docs", before=job)).out == "No job was given up.\n"


async def test_a_replay_is_followed_to_its_commit(shell: Shell, job: str) -> None:
    ran = await shell(dead_letters.replay, job)
    assert ran.status == 0
    assert "#1" in ran.out
    assert (await shell(dead_letters.replay, job)).problem is not None


async def test_a_letter_is_discarded(shell: Shell, job: str) -> None:
    assert "2 changes" in (await shell(dead_letters.discard, job)).out
    ran = await shell(dead_letters.show, job)
    assert (ran.status, ran.problem is not None and ran.problem["status"]) == (1, 404)


async def test_a_long_list_says_how_to_go_on(shell: Shell, job: str, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable("the index is away.")

    with monkeypatch.context() as patched:
        patched.setattr(shell.world.platform.adapters.index, "flush", away)
        await shell(ingest, [tree("more", {"c.md": "Gamma."})], "more")
    first = (await shell(dead_letters.list_, limit=1)).out
    assert job not in first
    assert "More: --before " in first
