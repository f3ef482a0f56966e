"""What every document parser promises."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from ragstone.adapters.parsing.sandbox import SubprocessParser
from ragstone.domain.errors import InvalidInput, Unavailable, UnreadableDocument
from ragstone.ports.document_parser import DocumentParser
from tests.fakes.document_parser import ParagraphParser


@pytest.fixture(params=["subprocess", "paragraph"])
async def parser(request: pytest.FixtureRequest) -> AsyncIterator[DocumentParser]:
    adapter: DocumentParser = SubprocessParser() if request.param == "subprocess" else ParagraphParser()
    yield adapter
    await adapter.close()


async def test_the_same_bytes_give_the_same_text(parser: DocumentParser) -> None:
    content = "# Käse\n\nEin Satz.\n\nZwei 日本語 🎈.".encode()
    first = await parser.parse("a.md", "text/markdown", content)
    assert first.text == "Käse\n\nEin Satz.\n\nZwei 日本語 🎈."
    assert await parser.parse("a.md", "text/markdown", content) == first


async def test_blocks_are_in_order_and_lie_in_the_text(parser: DocumentParser) -> None:
    extracted = await parser.parse("a.md", "text/markdown", b"# One\n\nText.\n\n## Two\n\nMore\ntext.\n\nEnd.\n")
    assert [(block.kind, block.level) for block in extracted.blocks if block.kind == "heading"] == [("heading", 1), ("heading", 2)]
    assert [extracted.text[block.start : block.end] for block in extracted.blocks][:3] == ["One", "Text.", "Two"]
    assert all(block.start < block.end for block in extracted.blocks)
    assert all(left.end <= right.start for left, right in itertools.pairwise(extracted.blocks))
    assert extracted.blocks[-1].end <= len(extracted.text)


async def test_the_first_heading_of_level_1_is_the_title(parser: DocumentParser) -> None:
    assert (await parser.parse("a.md", "text/markdown", b"## Sub\n\nText.\n\n# Top\n\nText.")).title == "Top"
    assert (await parser.parse("a.txt", "text/plain", b"No heading.")).title is None


async def test_a_record_gives_its_text_and_title(parser: DocumentParser) -> None:
    extracted = await parser.parse("a.json", "application/json", b'{"_id": "7", "title": "A title", "text": "The text.", "year": 2020}')
    assert (extracted.text, extracted.title) == ("The text.", "A title")


async def test_byte_order_mark_and_carriage_returns_are_dropped(parser: DocumentParser) -> None:
    assert (await parser.parse("a.txt", "text/plain", b"\xef\xbb\xbfone\r\ntwo\rthree")).text == "one\ntwo\nthree"


async def test_code_keeps_its_indentation(parser: DocumentParser) -> None:
    extracted = await parser.parse("a.py", "text/x-python", b"def f():\n    return 1\n")
    assert "def f():\n    return 1" in extracted.text
    assert {block.kind for block in extracted.blocks} == {"code"}


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("text/plain", b""),
        ("text/markdown", b" \n\t\r\n "),
        ("text/plain", b"caf\xe9"),
        ("text/markdown", b"a\x00b"),
        ("application/json", b"{broken"),
    ],
    ids=["empty", "blank", "not UTF-8", "NUL", "broken JSON"],
)
async def test_what_cannot_be_read_is_refused_by_path(parser: DocumentParser, media_type: str, content: bytes) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        await parser.parse("folder/the file.txt", media_type, content)
    assert caught.value.field == "folder/the file.txt"
    assert caught.value.message.startswith("folder/the file.txt")
    assert (await parser.parse("next.txt", "text/plain", b"Fine.")).text == "Fine."


@pytest.mark.parametrize("media_type", ["image/png", "application/jsonl", "", "text"])
async def test_a_media_type_without_parser_is_refused(parser: DocumentParser, media_type: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await parser.parse("a.png", media_type, b"bytes")
    assert not isinstance(caught.value, UnreadableDocument)
    assert caught.value.field == "a.png"


async def test_versions_name_the_parser_that_was_used(parser: DocumentParser) -> None:
    assert list(parser.versions) == sorted(parser.versions)
    assert all("/" in version for version in parser.versions)
    assert (await parser.parse("a.txt", "text/plain", b"x")).parser in parser.versions


def test_media_types_are_guessed(parser: DocumentParser) -> None:
    assert parser.media_type("a/b.md", b"# x") == "text/markdown"
    assert parser.media_type("a/b.txt", b"x") == "text/plain"
    assert parser.media_type("records.jsonl", b"{}") == "application/jsonl"
    assert parser.media_type("README", b"x") == "text/plain"
    with pytest.raises(InvalidInput) as caught:
        parser.media_type("program", b"\x7fELF\x00\x00")
    assert caught.value.field == "program"


async def test_documents_at_the_same_time_are_not_mixed_up(parser: DocumentParser) -> None:
    contents = [f"Document number {number}." for number in range(20)]
    extracted = await asyncio.gather(*(parser.parse("a.txt", "text/plain", content.encode()) for content in contents))
    assert [one.text for one in extracted] == contents


async def test_a_closed_parser_says_so_and_closes_twice(parser: DocumentParser) -> None:
    await parser.close()
    with pytest.raises(Unavailable):
        await parser.parse("a.txt", "text/plain", b"x")
    await parser.close()
