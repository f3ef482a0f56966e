"""Commands on interactions and on the impact of a change, over the fakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ragstone.cli import ask, impact, interactions
from ragstone.cli.ingest import ingest
from ragstone.cli.interactions import Format, Thumb
from ragstone.domain.interactions import InteractionFilter
from tests.support.interactions import interaction
from tests.unit.cli.conftest import Shell

Tree = Callable[..., Path]


@pytest.fixture
async def asked(shell: Shell, tree: Tree) -> Shell:
    """One question, answered from a text that was changed since, by a document that tries to steer the terminal."""
    root = tree("docs", {"a.md": "Alpha is \x1b[2Jthe first letter.\n", "b.md": "Beta is the second letter.\n"})
    await shell(ingest, [root], "docs")
    await shell(ask.ask, "What is Alpha?", "docs")
    tree("docs", {"a.md": "Alpha is a Greek letter.\n"})
    await shell(ingest, [root], "docs")
    return shell


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.*"))


async def only(shell: Shell) -> str:
    [one] = await shell.world.platform.interactions.page(InteractionFilter())
    return one.id


async def test_a_list_can_be_narrowed(asked: Shell) -> None:
    id_ = await only(asked)
    await asked(interactions.feedback, id_, down=True, tag=["wrong"])
    for options in ({"thumb": Thumb.down}, {"tag": "wrong"}, {"abstained": False}, {"path": "a.md"}, {"since": "2020-01-01"}):
        assert id_ in (await asked(interactions.list_, **options)).out, options
    for options in (
        {"thumb": Thumb.up},
        {"abstained": True},
        {"path": "x.md"},
        {"until": "2020-01-01"},
        {"commit": "0" * 40},
        {"before": id_},
    ):
        assert (await asked(interactions.list_, **options)).out == "None is like that.\n", options
    assert (await asked(interactions.list_, since="yesterday")).problem["field"] == "since"  # type: ignore[index]


async def test_a_replay_shows_both_answers(asked: Shell) -> None:
    id_ = await only(asked)
    ran = await asked(interactions.replay, id_)
    assert "\x1b" not in ran.out
    lines = ran.out.splitlines()
    assert (lines[0], lines[1].split()) == ("What is Alpha?", ["then", "now"])
    assert "The same answer." in lines
    assert ": 2 passages, identical; the question finds the same again; the same release; new interaction" in lines[-1]
    form = (await asked(interactions.replay, id_, as_json=True)).json
    assert (form["replay_of"], form["passages"]["identical"]) == (id_, True)
    assert (await asked(interactions.replay, "absent")).status == 1


async def test_impact_shows_old_and_new_text(asked: Shell) -> None:
    ran = await asked(impact.impact, "#1..head", "docs")
    assert "\x1b" not in ran.out
    assert "What is Alpha?" in ran.out
    assert "  + Alpha is a Greek letter." in ran.out
    assert "  - Alpha is" in ran.out
    assert "1 documents changed or removed. 1 answers affected." in ran.out
    assert "No answer is affected" in (await asked(impact.impact, "#2..#2", "docs")).out
    form = (await asked(impact.impact, "#1..#2", "docs", as_json=True)).json
    assert [one["id"] for one in form["answers"]] == [await only(asked)]
    for bad in ("#1", "..#2", "#1..", ""):
        assert (await asked(impact.impact, bad, "docs")).problem["field"] == "change"  # type: ignore[index]


async def test_an_export_is_a_new_file_or_nothing(asked: Shell, tmp_path: Path) -> None:
    for number in range(300):
        await asked.world.platform.interactions.append(interaction(f"i{number}"))
    target = tmp_path / "out.jsonl"
    ran = await asked(interactions.export, output=target, as_json=True)
    assert (ran.json["interactions"], ran.json["bytes"]) == (301, target.stat().st_size)
    lines = [json.loads(line) for line in target.read_bytes().split(b"\n")[:-1]]
    assert [line["id"] for line in lines] == [f"i{number}" for number in reversed(range(300))] + [lines[-1]["id"]]
    before = target.read_bytes()
    assert (await asked(interactions.export, output=target)).status == 1
    assert target.read_bytes() == before
    rest = tmp_path / "rest.jsonl"
    assert "Exported 2 interactions" in (await asked(interactions.export, output=rest, before="i1", limit=5)).out
    parquet = tmp_path / "out.parquet"
    assert (await asked(interactions.export, output=parquet, format_=Format.parquet, collection="docs")).status == 0
    assert parquet.read_bytes()[:4] == parquet.read_bytes()[-4:] == b"PAR1"
    wrong = tmp_path / "wrong.jsonl"
    assert (await asked(interactions.export, output=wrong, since="never")).status == 1
    assert (await asked(interactions.export, output=tmp_path / "no" / "where")).status == 1
    assert names(tmp_path) == ["out.jsonl", "out.parquet", "rest.jsonl"]


async def test_an_export_that_breaks_off_leaves_nothing(asked: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        await asked.world.platform.interactions.append(interaction(f"i{number}"))
    log = asked.world.platform.interactions
    whole = log.page

    async def page(filter: InteractionFilter, *, before: str | None = None, limit: int = 50) -> object:
        if before is not None:
            raise RuntimeError("the disk is gone")
        return await whole(filter, before=before, limit=limit)

    monkeypatch.setattr(log, "page", page)
    ran = await asked(interactions.export, output=tmp_path / "out.jsonl")
    assert (ran.status, names(tmp_path)) == (1, [])


async def test_an_export_never_replaces_a_file_that_was_made_meanwhile(asked: Shell, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"

    async def other(method: str, path: str) -> None:
        target.write_text("somebody's")

    asked.hooks.append(other)
    assert (await asked(interactions.export, output=target)).status == 1
    assert (target.read_text(), names(tmp_path)) == ("somebody's", ["out.jsonl"])


async def test_ask_says_that_an_answer_was_deferred(asked: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def append(interaction: object) -> str:
        return "deferred"

    monkeypatch.setattr(asked.world.platform.interactions, "append", append)
    assert "waits in the server's spool" in (await asked(ask.ask, "What is Alpha?", "docs")).out
    assert (await asked(ask.ask, "What is Alpha?", "docs", as_json=True)).json["logged"] == "deferred"
