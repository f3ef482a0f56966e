"""Sentences, as spans."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.sentences import split_sentences


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


# Each entry is the list of sentences that joining them with a blank must give back.
KEPT_APART = [
    ["One sentence.", "Another one!", "A third?", "The end"],
    ["It costs $3.50 in the U.S. market.", "That is 1,000.25 in all."],
    ["Dr. Smith met Mrs. Jones at St. Paul's.", "They talked, e.g. about J. R. R. Tolkien, i.e. fantasy."],
    ["See Fig. 3 and Eq. 4, cf. Brown et al. 2003.", "No. 5 was best, pp. 3-7."],
    ["He moved to the U.S. in May.", "She did not."],
    ["He works for Acme Inc. in Ohio.", "It was founded by K. Jong."],
    ["The firm is Acme Inc.", "The town is Ohio."],
    ["They met at 5 p.m. on Monday.", "It rained."],
    ['"What?" he said.', '"I don\'t know."', "She left."],
    ["He said (it was late).", "(Nobody heard.)", "[So it goes.]"],
    ["The claim is old.[12]", "The proof is new."],
    ["Vitamin C.", "The other one is D."],
    ["Yahoo! is a company.", "So it was…", "Then came Google."],
    ["Version 2.0.1 is out.", "Use foo.bar() or https://example.org/a.b?c=d. e now."],
    ["Is it so?!", "Yes."],
    ["He said no.", "Then he left."],
    ["Elle est là.", "Évidemment.", "Über alles."],
    ["In 1990.", "2 years later it fell."],
    ["It holds, viz. Aristotle and Plato, vs. Kant.", "Prof. Kant objects."],
]


@pytest.mark.parametrize("expected", KEPT_APART, ids=lambda expected: expected[0][:30])
def test_borders_of_prose(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected


def test_soft_line_breaks_do_not_separate_but_blank_lines_do() -> None:
    assert sentences("A line that\ngoes on. Next\n\nA heading\n \nText") == ["A line that\ngoes on.", "Next", "A heading", "Text"]


def test_list_items_and_table_rows_are_sentences() -> None:
    text = "Do this:\n- first thing\n- second thing. With more\n  that goes on\n1. numbered one\n2. numbered two\na | b\n1 | 2\nEnd."
    assert sentences(text) == [
        "Do this:",
        "- first thing",
        "- second thing.",
        "With more\n  that goes on",
        "1. numbered one",
        "2. numbered two",
        "a | b",
        "1 | 2",
        "End.",
    ]


def test_scripts_without_blanks() -> None:
    assert sentences("これは文です。次の文です！「本当？」はい。") == ["これは文です。", "次の文です！", "「本当？」", "はい。"]


@pytest.mark.parametrize("text", ["", " \n\t", "\n\n\n"])
def test_blank_text_has_no_sentences(text: str) -> None:
    assert sentences(text) == []


@given(st.text(alphabet=st.sampled_from("aB1.!?… \n\t-*|\"')]([。e.gDr")) | st.text())
def test_spans_are_trimmed_in_order_and_cover_everything(text: str) -> None:
    spans = split_sentences(text)
    covered = "".join(text[start:end] for start, end in spans)
    assert "".join(covered.split()) == "".join(text.split())
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))


@pytest.mark.parametrize("unit", [".", "! ", "a.", ". ", ".)", "[1]", ".[1]", "\n", "\n- ", "a | \n", "e.g. ", "Dr.", '."', "   ", "1.\n"])
def test_linear_time(unit: str) -> None:
    """Ten times the text takes about ten times as long: far below the hundred of a quadratic splitter."""
    short, long = unit * (6_000 // len(unit)), unit * (60_000 // len(unit))
    times = []
    for text in (short, long):
        rounds = []
        for _ in range(3):
            began = time.process_time()
            split_sentences(text + "x")
            rounds.append(time.process_time() - began)
        times.append(min(rounds))
    assert times[1] < 35 * times[0] + 0.05
