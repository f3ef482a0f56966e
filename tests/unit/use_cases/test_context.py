"""The choice and the arrangement of passages for a prompt."""

from __future__ import annotations

from ragstone.adapters.openai_generator import OpenAIGenerator
from ragstone.use_cases.context import ELEMENT_TOKENS, arrange, fit
from ragstone.use_cases.prompts import Prompts
from tests.support.passages import passage, passages


def words(text: str) -> int:
    return len(text.split())


def test_the_best_ones_that_fit_are_kept_from_the_start() -> None:
    found = passages("one two three", "four five six", "seven eight nine")
    each = words("1.md one two three") + ELEMENT_TOKENS
    assert fit(found, 3 * each, words) == found
    assert fit(found, 3 * each - 1, words) == found[:2]


def test_a_worse_passage_never_takes_the_place_of_a_better_one_that_did_not_fit() -> None:
    found = passages("one", "two " * 100, "three")
    assert fit(found, 100, words) == found[:1]


def test_an_only_passage_is_cut_at_a_word_with_its_span() -> None:
    (kept,) = fit((passage("alpha beta gamma delta", start=10),), ELEMENT_TOKENS + 3, words)
    assert kept.chunk.text == "alpha beta"
    assert (kept.chunk.start, kept.chunk.end) == (10, 20)


def test_no_room_no_passages() -> None:
    assert fit(passages("one two"), ELEMENT_TOKENS, words) == ()
    assert fit(passages("one two"), -5, words) == ()
    assert fit((), 1000, words) == ()


def test_passages_stand_in_document_order_the_best_document_first_under_their_own_numbers() -> None:
    blocks = arrange(
        (
            passage("late", path="b.md", start=500),
            passage("other", path="a.md", start=0),
            passage("early", path="b.md", start=0),
        )
    )
    assert [(block.path, [(part.number, part.text) for part in block.parts]) for block in blocks] == [
        ("b.md", [(3, "early")]),
        ("b.md", [(1, "late")]),
        ("a.md", [(2, "other")]),
    ]


def test_neighbours_under_one_heading_share_a_block() -> None:
    first = passage("alpha", path="a.md", start=0, headings=("H",))
    second = passage("beta", path="a.md", start=7, headings=("H",))
    elsewhere = passage("gamma", path="a.md", start=13, headings=("H", "I"))
    blocks = arrange((second, elsewhere, first))
    assert [[part.number for part in block.parts] for block in blocks] == [[3, 1], [2]]
    assert [block.heading for block in blocks] == ["H", "H > I"]


def test_the_rendered_prompt_stays_within_the_budget_by_the_upper_estimate() -> None:
    count = OpenAIGenerator("http://127.0.0.1:1/v1", "tiny").count_tokens
    found = tuple(passage("word " * 10, path=f"folder/file-{n}.md", rank=n, headings=("Handbook", "Part")) for n in range(1, 40))
    bare = Prompts().get("answer/1").render("Why?", (), max_sentences=2, abstention="")
    kept = fit(found, 1000, count)
    full = Prompts().get("answer/1").render("Why?", arrange(kept), max_sentences=2, abstention="")
    assert 5 < len(kept) < 39
    assert count(full.user) - count(bare.user) <= 1000
