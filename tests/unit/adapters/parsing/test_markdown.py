"""Markdown to clean text."""

from __future__ import annotations

import pytest

from ragstone.adapters.parsing.extraction import ParseFailure
from ragstone.adapters.parsing.markdown import parse_markdown
from tests.unit.adapters.parsing.samples import read, shown


def blocks(text: str) -> list[tuple[str, str]]:
    return shown(read(parse_markdown, text))


def test_marks_are_dropped_and_words_stay() -> None:
    text = 'Use **bold**, _this_, ~~that~~ and `code_with_*` of [the docs](https://x.org "t").\nSecond line <b>here</b>  \nnew &amp; old ![a logo](l.png)'
    assert blocks(text) == [
        ("paragraph", "Use bold, this, that and code_with_* of the docs. Second line here\nnew & old a logo"),
    ]


def test_headings_of_both_forms() -> None:
    assert blocks("Top\n===\n\n## The `q` *parameter* { #the-q }\n\ntext") == [
        ("heading1", "Top"),
        ("heading2", "The q parameter"),
        ("paragraph", "text"),
    ]


def test_code_stays_as_it_is() -> None:
    assert blocks('```python hl_lines="1"\ndef f():\n    # not a *heading*\n    return [x](y)\n```\n\n    indented  code\n') == [
        ("code", "def f():\n    # not a *heading*\n    return [x](y)"),
        ("code", "indented  code"),
    ]


def test_lists_with_code_inside() -> None:
    text = "* one\n* **two**\n    * deeper\n\n3. three\n4. four\n\n    more of four\n\n    ```\n    x = 1\n    ```\n\n5. five\n"
    assert blocks(text) == [
        ("list", "- one\n- two\n  - deeper"),
        ("list", "3. three\n4. four\n  more of four"),
        ("code", "x = 1"),
        ("list", "5. five"),
    ]


def test_tables_are_rows() -> None:
    assert blocks("| a | *b* |\n|---|---|\n| 1 | `2` |\n") == [("table", "a | b\n1 | 2")]


@pytest.mark.parametrize(
    ("front", "title"),
    [
        ("title: Front\nhide:\n  - toc", "Front"),
        ("title: '  quoted:\n  over lines '", "quoted: over lines"),
        ("hide: x", "Heading"),
        ("", "Heading"),
        ("title: 5", "Heading"),
    ],
)
def test_front_matter_gives_the_title_and_is_no_text(front: str, title: str) -> None:
    extracted = read(parse_markdown, f"---\n{front}\n---\n\n# Heading\n\nText.")
    assert extracted.title == title
    assert extracted.text == "Heading\n\nText."


@pytest.mark.parametrize("text", ["---\n\nA paragraph.\n\n---\n\nAnother.", "---\na: [broken\n---\nAnother."])
def test_what_is_no_front_matter_stays(text: str) -> None:
    assert "Another." in read(parse_markdown, text).text
    assert len(read(parse_markdown, text).text) > len("Another.")


def test_admonitions_give_their_title_and_their_text() -> None:
    text = '/// tip | Good to know\n\nSlash **text**.\n\n///\n\n!!! note "Mind"\n    Indented text.\n\n        nested code\n\n??? info\n    Folded.\n\n    !!! warning\n        Deep.\n\nAfter.'
    assert blocks(text) == [
        ("paragraph", "Good to know"),
        ("paragraph", "Slash text."),
        ("paragraph", "Mind"),
        ("paragraph", "Indented text."),
        ("code", "nested code"),
        ("paragraph", "Folded."),
        ("paragraph", "Deep."),
        ("paragraph", "After."),
    ]


def test_tabs_keep_their_labels_unless_they_only_include_a_file() -> None:
    include = '```Python hl_lines="9"\n{!> ../../docs_src/tutorial001.py!}\n```'
    text = f'//// tab | Python 3.10+\n\n{include}\n\n////\n\n//// tab | Windows\n\n```console\n$ <font color="red">dir</font> &gt; x\n```\n\n////\n'
    assert blocks(text) == [("paragraph", "Windows"), ("code", "$ dir > x")]


def test_what_is_for_the_site_generator_is_dropped() -> None:
    text = '{% if sponsors %}\n\n::: fastapi.APIRouter\n    options:\n        members: x\n\n--8<-- "file.md"\n\n<!-- a comment -->\n\n<style>p {}</style>\n\n[link](x.md){.internal-link target=_blank} end.\n\n<div class="termy">\n\n<p>In <b>HTML</b></p>\n</div>'
    assert blocks(text) == [("paragraph", "fastapi.APIRouter"), ("paragraph", "link end."), ("paragraph", "In HTML")]


def test_fences_hide_what_looks_like_marks() -> None:
    text = "~~~\n!!! note\n/// tip\n--- x\n```\n~~~\n\nAfter."
    assert blocks(text) == [("code", "!!! note\n/// tip\n--- x\n```"), ("paragraph", "After.")]


def test_limits_on_the_text() -> None:
    with pytest.raises(ParseFailure, match="more than 20 characters"):
        read(parse_markdown, "word " * 10, max_characters=20)


@pytest.mark.parametrize("unit", ["> ", "- "])
def test_text_nested_too_deeply_is_refused_not_dropped(unit: str) -> None:
    assert read(parse_markdown, unit * 30 + "deep").text.endswith("deep")
    with pytest.raises(ParseFailure, match="nested too deeply"):
        read(parse_markdown, unit * 300 + "deep")
