"""Plain text, source code and JSON records. The extracted text is the source's own, newlines aside."""

from __future__ import annotations

import itertools
import json
import re

from ragstone.adapters.parsing.extraction import ParseFailure, Source, check_size, clean, decode_utf8
from ragstone.domain.documents import Block, BlockKind, ExtractedText

_BLANK_LINES = re.compile(r"\n[ \t]*(?=\n)")


def parse_plain(source: Source) -> ExtractedText:
    """Paragraphs are what blank lines separate."""
    return _verbatim(source, decode_utf8(source.content), "paragraph", None)


def parse_code(source: Source) -> ExtractedText:
    """Like plain text, but the pieces are cut at lines only."""
    return _verbatim(source, decode_utf8(source.content), "code", None)


def parse_json(source: Source) -> ExtractedText:
    """A record with a `text` gives that text under its `title` (as in BEIR); any other JSON is taken as code."""
    text = decode_utf8(source.content)
    try:
        record = json.loads(text)
    except ValueError as error:
        raise ParseFailure(f"is not JSON ({error}).") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        return _verbatim(source, text, "code", None)
    title = record.get("title")
    title = clean(title).strip() if isinstance(title, str) else ""
    return _verbatim(source, clean(record["text"]) if record["text"].strip() else title, "paragraph", title or None)


def _verbatim(source: Source, text: str, kind: BlockKind, title: str | None) -> ExtractedText:
    check_size(source, len(text), 0)
    borders = [0, *(match.end() for match in _BLANK_LINES.finditer(text)), len(text)]
    blocks = tuple(Block(kind, start, end) for start, end in itertools.pairwise(borders) if not text[start:end].isspace() and start < end)
    check_size(source, len(text), len(blocks))
    return ExtractedText(text, blocks, source.parser, title)
