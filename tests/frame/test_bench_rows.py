"""Rows of benchmarks: what holds, what falls short, what could not be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import runner
from bench.rows import Row, row, skipped


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Row]]:
    """Rows by group, in place of measured ones; results are written below `tmp_path`."""
    groups: dict[str, list[Row]] = {}
    monkeypatch.setattr(runner, "data_directory", lambda: tmp_path)
    monkeypatch.setattr(runner, "run_group", groups.__getitem__)
    monkeypatch.setattr(runner, "__file__", str(tmp_path / "runner.py"))
    return groups


def test_a_row_that_could_not_be_measured_is_told_and_does_not_fall_short(
    suite: dict[str, list[Row]], capsys: pytest.CaptureFixture[str]
) -> None:
    suite["index"] = [skipped("agreement", "no `qdrant` on PATH", ">=", 1.0), row("speed", 5, "1/s", ">=", 3)]
    assert runner.run("servers", ["index"], []) == 0
    assert "skipped: agreement: no `qdrant` on PATH" in capsys.readouterr().err


def test_a_row_below_its_bar_falls_short(suite: dict[str, list[Row]], capsys: pytest.CaptureFixture[str]) -> None:
    suite["index"] = [row("speed", 2, "1/s", ">=", 3), skipped("agreement", "no server")]
    assert runner.run("servers", ["index"], []) == 1
    assert "falls short: speed" in capsys.readouterr().err


def test_nothing_measured_is_no_figure() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        row("speed", 0, "1/s", n=0)


def test_a_group_that_is_measured_again_leaves_the_rows_of_others(suite: dict[str, list[Row]], tmp_path: Path) -> None:
    suite["index"], suite["outage"] = [row("speed", 5, "1/s")], [row("lost", 0, "writes")]
    runner.run("servers", ["index", "outage"], [])
    suite["index"] = [row("speed", 7, "1/s")]
    runner.run("servers", ["index", "outage"], ["index"])
    written = json.loads((tmp_path / "results" / "servers.json").read_text())
    assert [(one["group"], one["value"]) for one in written] == [("index", 7), ("outage", 0)]
