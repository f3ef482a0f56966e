"""Plain text, code and JSON records."""

from __future__ import annotations

import pytest

from ragstone.adapters.parsing import extraction
from ragstone.adapters.parsing.extraction import ParseFailure
from ragstone.adapters.parsing.plain import parse_code, parse_json, parse_plain
from tests.unit.adapters.parsing.samples import read, shown


def test_plain_text_stays_as_it_is() -> None:
    text = "  One\n  line.\n\n\n \nTwo\tlines.\x0c\n"
    extracted = read(parse_plain, text)
    assert extracted.text == text
    assert [shown_text.strip() for _, shown_text in shown(extracted)] == ["One\n  line.", "Two\tlines."]


def test_code_is_cut_at_blank_lines() -> None:
    extracted = read(parse_code, "def f():\n    pass\n\n\ndef g():\n    pass\n")
    assert [(kind, text.strip()) for kind, text in shown(extracted)] == [("code", "def f():\n    pass"), ("code", "def g():\n    pass")]


def test_a_record_is_its_text() -> None:
    extracted = read(parse_json, '{"_id": "1", "title": " T ", "text": "One.\\r\\n\\r\\nTwo \\ud800.", "url": "u"}')
    assert extracted.title == "T"
    assert extracted.text == "One.\n\nTwo \N{REPLACEMENT CHARACTER}."


def test_a_record_without_text_is_its_title() -> None:
    assert read(parse_json, '{"title": "T", "text": " "}').text == "T"


@pytest.mark.parametrize("text", ['{"name": "x", "text": 5}', "[1, 2]", '"text"'])
def test_other_json_is_code(text: str) -> None:
    assert shown(read(parse_json, text)) == [("code", text)]


def test_broken_json_is_refused() -> None:
    with pytest.raises(ParseFailure, match="is not JSON"):
        read(parse_json, '{"a": ')


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParseFailure, match="more than 10 characters"):
        read(parse_plain, "x" * 11, max_characters=10)
    monkeypatch.setattr(extraction, "MAX_BLOCKS", 5)
    assert len(read(parse_plain, "x\n\n" * 5).blocks) == 5
    with pytest.raises(ParseFailure, match="more than 5 paragraphs"):
        read(parse_plain, "x\n\n" * 6)
