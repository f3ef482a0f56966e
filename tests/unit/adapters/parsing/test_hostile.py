"""Bytes that mean harm, as every media type, one after another through one parser."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from ragstone.adapters.parsing.media_types import PARSERS
from ragstone.adapters.parsing.sandbox import ParserLimits, SubprocessParser
from ragstone.domain.documents import ExtractedText
from ragstone.domain.errors import UnreadableDocument
from tests.unit.adapters.parsing.samples import pdf_of_pages

LIMITS = ParserLimits(seconds=10, cpu_seconds=5, memory=512 * 2**20, characters=100_000)
NOISE = random.Random(7)
HOSTILE = {
    "random bytes": NOISE.randbytes(20_000),
    "noise": bytes(NOISE.choices(b"#>-*`[]()<>&;|:_ \n\r\tabc1.=~!{}/\\\"'", k=5_000)),
    "NUL": b"text\x00text",
    "white space": b" \n\t " * 1000,
    "surrogates": "a\ud800b".encode("utf-8", "surrogatepass"),
    "control characters": bytes(range(1, 32)) * 20 + b"x",
    "quotes": b">" * 100_000,
    "brackets": b"[" * 4_000,
    "tags": b"<div>" * 4_000,
    "items": b"- " * 4_000 + b"x",
    "line": b"word " * 15_000,
    "braces": b'{"a":' * 4_000,
    "PDF head": b"%PDF-1.7\n" + NOISE.randbytes(2000),
    "cut PDF": pdf_of_pages(("Text.",))[:-100],
}


@pytest.fixture(scope="module")
def parser() -> Iterator[SubprocessParser]:
    shared = SubprocessParser(LIMITS)
    yield shared
    asyncio.run(shared.close())


async def outcome(parser: SubprocessParser, media_type: str, content: bytes) -> ExtractedText | UnreadableDocument:
    try:
        return await parser.parse("a", media_type, content)
    except UnreadableDocument as error:
        return error


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("media_type", [*PARSERS, "text/x-python"])
async def test_it_is_refused_or_gives_text_within_the_limits(parser: SubprocessParser, media_type: str, name: str) -> None:
    result = await outcome(parser, media_type, HOSTILE[name])
    if isinstance(result, ExtractedText):
        assert 0 < len(result.text) <= LIMITS.characters
        assert result.text.encode()
        assert all(block.start < block.end <= len(result.text) for block in result.blocks)
    else:
        assert result.message.startswith("a ")
    assert (await parser.parse("b", "text/plain", b"Fine.")).text == "Fine."
