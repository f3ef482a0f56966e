"""Chunks follow headings and sentences, within a budget."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.domain.chunk_atoms import CHARACTERS_PER_TOKEN, CountTokens
from ragstone.domain.chunking import chunk_document
from ragstone.domain.documents import Block, BlockKind, Chunk, ExtractedText, content_hash
from ragstone.domain.spaces import ChunkerSettings

SMALL = ChunkerSettings(max_tokens=30, min_tokens=6)


def words(texts: Sequence[str]) -> list[int]:
    """A tokeniser whose tokens are words and marks."""
    return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


def letters(texts: Sequence[str]) -> list[int]:
    """A tokeniser whose tokens are bytes in threes, white space included: parts do not add up to the whole."""
    return [-(-len(text.encode()) // 3) for text in texts]


def links(texts: Sequence[str]) -> list[int]:
    """A tokeniser for which the whole is more than its parts: words, and what is between any two of them."""
    return [max(0, 2 * len(text.split()) - 1) for text in texts]


def document(*parts: tuple[Any, ...], title: str | None = None) -> ExtractedText:
    """Blocks with blank lines between them; a heading has its level as a third item."""
    blocks: list[Block] = []
    length = 0
    for part in parts:
        blocks.append(Block(part[0], length, length + len(part[1]), part[2] if len(part) > 2 else 0))
        length += len(part[1]) + 2
    return ExtractedText("\n\n".join(part[1] for part in parts), tuple(blocks), "test/1", title)


def chunks_of(extracted: ExtractedText, limits: ChunkerSettings = SMALL, title: str | None = None) -> tuple[Chunk, ...]:
    return chunk_document(extracted, title, words, limits)


def prose(sentences: int, length: int = 6, name: str = "w") -> str:
    return " ".join(" ".join(f"{name}{sentence}x{word}" for word in range(length)).capitalize() + "." for sentence in range(sentences))


def test_a_section_that_fits_is_one_chunk_under_its_headings() -> None:
    extracted = document(
        ("heading", "Guide", 1), ("paragraph", "Intro."), ("heading", "Install", 2), ("paragraph", "Run it."), ("paragraph", "Done.")
    )
    first, second = chunks_of(extracted, title="Guide")
    assert (first.text, first.heading_path) == ("Intro.", ("Guide",))
    assert (second.text, second.heading_path) == ("Run it.\n\nDone.", ("Guide", "Install"))
    assert second.embedded_text == "Guide > Install\nRun it.\n\nDone."
    assert extracted.text[second.start : second.end] == second.text
    assert second.content_hash == content_hash(second.heading_path, second.text)


def test_heading_paths_follow_levels() -> None:
    parts = [("A", 1), ("B", 3), ("C", 2), ("D", 3), ("E", 1)]
    extracted = document(*itertools.chain.from_iterable((("heading", name, level), ("paragraph", f"of {name}")) for name, level in parts))
    paths = {chunk.text: chunk.heading_path for chunk in chunks_of(extracted)}
    assert paths == {"of A": ("A",), "of B": ("A", "B"), "of C": ("A", "C"), "of D": ("A", "C", "D"), "of E": ("E",)}


@pytest.mark.parametrize(
    ("title", "path"), [("Other", ("Other", "Top")), ("  TOP ", ("Top",)), (None, ("Top",)), (" ", ("Top",)), ("A\nB", ("A B", "Top"))]
)
def test_the_title_goes_first_unless_it_is_the_first_heading(title: str | None, path: tuple[str, ...]) -> None:
    extracted = document(("heading", "Top", 1), ("paragraph", "Text."))
    assert chunks_of(extracted, title=title)[0].heading_path == path


def test_without_headings_the_title_is_the_path() -> None:
    assert chunks_of(document(("paragraph", "Text.")), title="T")[0].heading_path == ("T",)
    assert chunks_of(document(("paragraph", "Text.")))[0].heading_path == ()


def test_a_heading_without_body_is_in_paths_only() -> None:
    extracted = document(("heading", "A", 1), ("heading", "B", 2), ("heading", "C", 3), ("paragraph", "Text."), ("heading", "Empty", 2))
    [chunk] = chunks_of(extracted)
    assert (chunk.heading_path, chunk.text) == (("A", "B", "C"), "Text.")


def test_a_document_of_headings_only_gives_a_chunk() -> None:
    extracted = document(("heading", "A", 1), ("heading", "B", 2))
    [chunk] = chunks_of(extracted, title="A")
    assert (chunk.text, chunk.heading_path) == ("A\n\nB", ())
    [chunk] = chunks_of(extracted, title="Title")
    assert (chunk.text, chunk.heading_path) == ("A\n\nB", ("Title",))


@pytest.mark.parametrize("text", ["", " \n\n "])
def test_blank_text_gives_no_chunk(text: str) -> None:
    assert chunks_of(ExtractedText(text, (), "test/1"), title="T") == ()


def test_paragraphs_are_kept_whole_where_they_fit() -> None:
    one, two, three = prose(2, 7), prose(3, 6, "v"), prose(1, 5, "u")
    assert [chunk.text for chunk in chunks_of(document(("paragraph", one), ("paragraph", two), ("paragraph", three)))] == [
        one,
        f"{two}\n\n{three}",
    ]


def test_a_long_paragraph_is_cut_at_sentences_and_evened_out() -> None:
    """35 tokens at a budget of 30: 21 + 14, not 28 + 7."""
    chunks = chunks_of(document(("paragraph", prose(5))))
    assert [chunk.text.count(".") for chunk in chunks] in ([2, 3], [3, 2])


def test_no_tiny_chunk_is_left_at_the_end_of_a_section() -> None:
    chunks = chunks_of(document(("paragraph", prose(4)), ("paragraph", "Tail end.")))
    assert min(words([chunk.text])[0] for chunk in chunks) >= SMALL.min_tokens
    assert chunks[-1].text.endswith("Tail end.")


def test_no_tiny_chunk_is_left_before_a_long_paragraph() -> None:
    chunks = chunks_of(document(("paragraph", "In short."), ("paragraph", prose(4))))
    assert min(words([chunk.text])[0] for chunk in chunks) >= SMALL.min_tokens


@pytest.mark.parametrize("kind", ["code", "table"])
def test_code_and_tables_are_kept_whole_or_cut_at_lines(kind: BlockKind) -> None:
    fitting = "\n".join(f"    line {number} x" for number in range(9))
    long = "\n".join(f"line {number} of it" for number in range(20))
    chunks = chunks_of(document(("paragraph", prose(1, 4)), (kind, fitting), ("paragraph", "After."), (kind, long)))
    assert any(fitting.strip() in chunk.text for chunk in chunks)
    of_long = [chunk.text for chunk in chunks if "of it" in chunk.text]
    assert len(of_long) > 2
    assert all(line.endswith("of it") or line in ("After.", "") or "x" in line for text in of_long for line in text.split("\n"))


def test_a_sentence_beyond_the_budget_is_cut_at_words() -> None:
    sentence = " ".join(f"word{number}" for number in range(100)) + "."
    chunks = chunks_of(document(("paragraph", sentence)))
    assert " ".join(chunk.text for chunk in chunks) == sentence
    assert len(chunks) <= 6


def test_the_budget_holds_where_the_whole_is_more_than_its_parts() -> None:
    chunks = chunk_document(document(("paragraph", prose(30, 2))), "T", links, SMALL)
    assert max(links([chunk.embedded_text for chunk in chunks])) <= SMALL.max_tokens


def test_a_word_without_end_is_cut_by_length() -> None:
    """To the tokeniser it is a single token."""
    chunks = chunks_of(document(("paragraph", "x" * 10_000)))
    assert "".join(chunk.text for chunk in chunks) == "x" * 10_000
    assert max(len(chunk.text) for chunk in chunks) <= SMALL.max_tokens * CHARACTERS_PER_TOKEN


def test_headings_can_not_eat_the_budget() -> None:
    deep = [("heading", f"Heading {level} " + "long words " * 40, level) for level in range(1, 7)]
    [chunk] = chunks_of(document(*deep, ("paragraph", "Body.")), ChunkerSettings(max_tokens=40, min_tokens=5), title="T " * 300)
    assert words([chunk.embedded_text])[0] <= 40
    assert chunk.heading_path


def test_long_paths_keep_the_outermost_and_the_innermost() -> None:
    headings = [("heading", f"h{level}", level) for level in range(1, 7)]
    [chunk] = chunks_of(document(*headings, ("paragraph", "Body.")), ChunkerSettings(max_tokens=200), title="Title")
    assert chunk.heading_path == ("Title", "h2", "h3", "h4", "h5", "h6")


def test_text_between_blocks_is_not_lost() -> None:
    extracted = ExtractedText("Before. Inside. After.", (Block("paragraph", 8, 15),), "test/1")
    assert "".join(chunk.text for chunk in chunks_of(extracted)).replace("\n", "") == "Before. Inside. After."


def test_equal_chunks_are_counted() -> None:
    section = (("heading", "Same", 1), ("paragraph", "Text."))
    assert [chunk.occurrence for chunk in chunks_of(document(*section, *section, ("heading", "Other", 1), ("paragraph", "Text.")))] == [
        0,
        1,
        0,
    ]


def test_the_page_is_that_of_the_first_character() -> None:
    text = "One two three four.\n\n" + prose(5)
    blocks = (Block("paragraph", 0, 19, page=4), Block("paragraph", 21, len(text), page=5))
    chunks = chunks_of(ExtractedText(text, blocks, "test/1"))
    assert [chunk.page for chunk in chunks] == [4 if chunk.start < 21 else 5 for chunk in chunks]
    assert chunks[0].page == 4


def test_an_edit_in_one_section_leaves_the_others_untouched() -> None:
    def chunked(body: str) -> dict[str, list[tuple[str, str]]]:
        parts = [("heading", "Top", 1), ("paragraph", prose(7)), ("heading", "Edited", 2), ("paragraph", body)]
        extracted = document(*parts, ("heading", "After", 2), ("paragraph", prose(9, 5, "v")), ("code", "x = 1\ny = 2"))
        by_section: dict[str, list[tuple[str, str]]] = {}
        for chunk in chunks_of(extracted):
            by_section.setdefault(chunk.heading_path[-1], []).append((chunk.content_hash, chunk.text))
        return by_section

    before = chunked("Short.")
    for body in (prose(1), prose(20), "x" * 3000, "Tiny"):
        after = chunked(body)
        assert {name: after[name] for name in ("Top", "After")} == {name: before[name] for name in ("Top", "After")}
        assert after["Edited"] != before["Edited"]


def test_the_tokeniser_is_called_a_few_times_only() -> None:
    calls: list[int] = []

    def counting(texts: Sequence[str]) -> list[int]:
        calls.append(len(texts))
        return words(texts)

    parts = [part for number in range(300) for part in (("heading", f"H{number}", 1), ("paragraph", prose(8)))]
    assert len(chunk_document(document(*parts), None, counting, SMALL)) >= 600
    assert len(calls) <= 5


def test_five_megabytes_take_seconds() -> None:
    text = (prose(40, 12) + "\n\n") * 1800
    assert len(text) > 5_000_000
    began = time.process_time()
    chunk_document(ExtractedText(text, (), "test/1"), None, lambda texts: [len(text) // 5 for text in texts], ChunkerSettings())
    assert time.process_time() - began < 10


KINDS = st.sampled_from(["paragraph", "list", "code", "table"])
TEXTS = st.text(alphabet=st.sampled_from("abcdefgh. \n-A1|?é日🎈"), max_size=200) | st.integers(1, 120).map(
    lambda n: prose(n // 8 + 1, n % 8 + 1)
)
PARTS = st.lists(
    st.tuples(KINDS, TEXTS, st.just(0)) | st.tuples(st.just("heading"), st.text("abc \n", max_size=60), st.integers(1, 6)), max_size=12
)


@settings(max_examples=150, deadline=None)
@given(PARTS, st.none() | st.text(max_size=100), st.integers(8, 60), st.sampled_from([words, letters, links]))
def test_chunks_cover_the_body_once_in_order_within_the_budget(
    parts: list[tuple[BlockKind, str, int]], title: str | None, budget: int, count: CountTokens
) -> None:
    extracted = document(*parts)
    chunks = chunk_document(extracted, title, count, ChunkerSettings(max_tokens=budget, min_tokens=budget // 5))
    body = [True] * len(extracted.text)
    for block in extracted.blocks:
        if block.kind == "heading" and any(
            other.kind != "heading" and extracted.text[other.start : other.end].strip() for other in extracted.blocks
        ):
            body[block.start : block.end] = [False] * (block.end - block.start)
    covered = [False] * len(extracted.text)
    position = 0
    for chunk in chunks:
        assert chunk.text == extracted.text[chunk.start : chunk.end] == chunk.text.strip() != ""
        assert chunk.start >= position
        position = chunk.end
        assert count([chunk.embedded_text])[0] <= budget or len(chunk.text) == 1, count.__name__
        covered[chunk.start : chunk.end] = [True] * (chunk.end - chunk.start)
    for character, expected, actual in zip(extracted.text, body, covered, strict=True):
        assert character.isspace() or expected == actual
    assert chunks == chunk_document(extracted, title, count, ChunkerSettings(max_tokens=budget, min_tokens=budget // 5))
    assert len({(chunk.content_hash, chunk.occurrence) for chunk in chunks}) == len(chunks)
