"""What is printed, and that documents can't steer the terminal."""

from __future__ import annotations

import json
from io import StringIO
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from ragstone.cli.following import describe
from ragstone.cli.output import Output, clean, one_line, table, text
from ragstone.cli.progress import bar, duration, size
from ragstone.cli.words import commit_name, place

HOSTILE = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202eback\u2028\x00b [bold]c[/bold] :smile:"


def test_control_characters_and_direction_overrides_are_removed() -> None:
    assert clean(HOSTILE) == "a[31mred]0;title2Jbackb [bold]c[/bold] :smile:"
    assert clean("tab\tand\nnewline, é, 語, \ud800") == "tab\tand\nnewline, é, 語, "
    assert one_line("a\n  b\tc\x1b") == "a b c"


def test_text_is_never_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Output().result({}, text(HOSTILE), table(("x",), [(HOSTILE,)]))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.count("[bold]c[/bold] :smile:") == 2


def test_json_mode_prints_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(json_mode=True)
    output.result({"text": HOSTILE}, text("shown to people"))
    output.note("a remark")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"text": HOSTILE}
    assert captured.out.isascii()
    assert captured.err == "a remark\n"


def test_a_problem_is_one_sentence_on_stderr_or_the_document_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    problem = {
        "title": "Not found",
        "status": 404,
        "detail": "There is no \x1b[2Jsuch thing.",
        "failures": [{"path": "a", "message": "a: bad"}],
    }
    Output().problem(problem)
    assert capsys.readouterr() == ("", "ragstone: There is no [2Jsuch thing.\n  a: bad\n")
    Output(json_mode=True).problem(problem)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == problem
    assert captured.err == ""


def test_lines_are_neither_wrapped_nor_filled_up_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Output().result({}, text("word " * 100), table(("a", "b"), [("x" * 300, "y"), ("z", "")]))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2] == "x" * 300 + "  y"
    assert lines[3] == "z"


def test_quiet_keeps_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(quiet=True)
    output.note("how it goes")
    output.warn("must be seen")
    assert capsys.readouterr().err == "must be seen\n"


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ragstone.cli.progress.time", SimpleNamespace(monotonic=lambda: now))
    with bar(Output(), "Ingesting") as shown:
        for done in range(100):
            now += 0.125
            shown.show(done, 100, "embedding")
    assert capsys.readouterr().err.splitlines() == ["Ingesting 39 % embedding", "Ingesting 79 % embedding"]


def test_on_a_narrow_terminal_the_time_left_is_still_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = {
        "phase": "embedding", "documents": 62, "documents_total": 62, "chunks": 256, "chunks_total": 556, "embedded": 256, "reused": 0,
        "rate": 5.2, "seconds_left": 58.0,
    }  # fmt: skip
    output = Output()
    terminal = Console(file=StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(output, "err", terminal)
    with bar(output, "Ingesting") as shown:
        shown.show(256, 556, describe(progress))
    drawn = cast("StringIO", terminal.file).getvalue()
    assert "Ingesting \N{BOX DRAWINGS HEAVY HORIZONTAL}" in drawn
    assert "embedding, 256/556 chunks, 5/s, 58.0 s left" in drawn


def test_progress_names_counts_rate_and_time_left() -> None:
    progress = {
        "phase": "embedding",
        "documents": 3,
        "documents_total": 4,
        "chunks": 1500,
        "chunks_total": 2000,
        "embedded": 1200,
        "reused": 300,
        "rate": 41.6,
        "seconds_left": 90.0,
    }
    expected = "embedding, 1,500/2,000 chunks, 42/s, 1 min 30 s left, 3/4 documents, 1,200 embedded, 300 reused"
    assert describe(progress) == expected
    assert describe({"phase": "queued", "documents_total": 0, "chunks_total": 0, "seconds_left": None}) == "queued"


def test_amounts_are_for_people() -> None:
    assert [duration(seconds) for seconds in (0.0123, 4.24, 190)] == ["12 ms", "4.2 s", "3 min 10 s"]
    assert [size(count) for count in (5, 1536, 90_868_376, 5 * 2**30)] == ["5 B", "1.5 KiB", "86.7 MiB", "5.0 GiB"]
    assert commit_name(3, "0123456789abcdef") == "#3 (0123456789ab)"
    assert commit_name(None, None) == "empty"
    passage = {"path": "a.pdf", "heading_path": ["A", "B"], "page": 2, "start": 5, "end": 9}
    assert place(passage) == "a.pdf, A > B, page 2, characters 5-9"
