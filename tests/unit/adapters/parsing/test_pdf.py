"""PDF to text."""

from __future__ import annotations

import pytest

from ragstone.adapters.parsing.extraction import ParseFailure
from ragstone.adapters.parsing.pdf import parse_pdf
from tests.unit.adapters.parsing.samples import bomb, page_stream, pdf, pdf_of_pages, pdf_of_stream, read, shown, stream


def test_lines_become_paragraphs_with_their_page() -> None:
    first = ("A paragraph whose lines are as long as the page and which ends with a hyphen-", "ated word.", "", "The next one.")
    extracted = read(parse_pdf, pdf_of_pages(first, ("On page two.",)))
    assert [(block.page, extracted.text[block.start : block.end]) for block in extracted.blocks] == [
        (1, "A paragraph whose lines are as long as the page and which ends with a hyphenated word."),
        (1, "The next one."),
        (2, "On page two."),
    ]
    assert extracted.title is None


def test_list_items_stand_alone() -> None:
    lines = (
        "We have the following long list of several things here:",
        "- a first item that is longer",
        "than a line of this page",
        "- a second item",
    )
    assert read(parse_pdf, pdf_of_pages(lines)).text == "\n\n".join([lines[0], f"{lines[1]} {lines[2]}", lines[3]])


def test_the_outline_makes_headings() -> None:
    content = pdf_of_pages(
        ("1  Intro", "Text."), ("Text.", "2 Methods", "More."), outline=(("1 Intro", 0), ("2 Methods", 1)), title="The title"
    )
    extracted = read(parse_pdf, content)
    assert extracted.title == "The title"
    assert shown(extracted) == [
        ("heading1", "1 Intro"),
        ("paragraph", "Text."),
        ("paragraph", "Text."),
        ("heading1", "2 Methods"),
        ("paragraph", "More."),
    ]


@pytest.mark.parametrize("title", ["", "untitled", "Microsoft Word - draft.doc", "paper.tex"])
def test_titles_that_are_none(title: str) -> None:
    assert read(parse_pdf, pdf_of_pages(("Text.",), title=title)).title is None


def test_running_titles_and_page_numbers_are_left_out() -> None:
    pages = [(f"The running title {number}", f"Text of page {'abcdef'[number]}.", "7", "Last line.", str(number)) for number in range(6)]
    text = read(parse_pdf, pdf_of_pages(*pages)).text
    assert "running" not in text
    assert text.count("7") == 6
    assert "5" not in text


def test_an_empty_password_opens_it_and_any_other_does_not() -> None:
    assert read(parse_pdf, pdf_of_pages(("Text.",), password="")).text == "Text."
    with pytest.raises(ParseFailure, match="is encrypted"):
        read(parse_pdf, pdf_of_pages(("Text.",), password="secret"))


CATALOGUE = b"<</Type/Catalog/Pages 2 0 R>>"
FORM = b"/Type/XObject/Subtype/Form/BBox[0 0 1 1]/Resources<</XObject<</X 5 0 R>>>>"
BROKEN = {
    "no PDF": b"This is not a PDF.",
    "cut off": pdf_of_stream(page_stream("Text."))[:200],
    "cyclic page tree": pdf(CATALOGUE, b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2/Parent 2 0 R>>"),
    "pages that are not there": pdf(CATALOGUE, b"<</Type/Pages/Kids[3 0 R]/Count 999999999>>", b"<</Type/Page/Parent 2 0 R>>"),
    "no text": pdf_of_stream(b""),
    "cyclic form": pdf(
        CATALOGUE,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</XObject<</X 5 0 R>>>>>>",
        stream(b"/X Do"),
        stream(b"/X Do /X Do", FORM),
    ),
    "bomb": pdf_of_stream(bomb(b" " * 1_000_000, 200), b"/Filter/FlateDecode"),
    "bomb in a bomb": pdf_of_stream(bomb(bomb(b" " * 1_000_000, 200), 1), b"/Filter[/FlateDecode/FlateDecode]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_and_hostile_files_are_refused(name: str) -> None:
    with pytest.raises(ParseFailure):
        read(parse_pdf, BROKEN[name])


def test_a_cyclic_outline_is_ignored() -> None:
    content = pdf(
        b"<</Type/Catalog/Pages 2 0 R/Outlines 6 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        stream(page_stream("Text.")),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</First 7 0 R/Last 7 0 R>>",
        b"<</Title(x)/Next 7 0 R/First 7 0 R/Dest[3 0 R/Fit]>>",
    )
    assert read(parse_pdf, content).text == "Text."
