"""What the parsers share: text that is built block by block, and the one error they raise."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ragstone.domain.documents import Block, BlockKind, ExtractedText

MAX_BLOCKS = 200_000
_BLANKS = re.compile(r"\s+")
_UNWANTED = re.compile("[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # control characters and lone surrogates


class ParseFailure(Exception):
    """The document can't be read. The message goes on after the document's path: "is encrypted; ..."."""


@dataclass(frozen=True, slots=True)
class Source:
    """A document to be parsed. `max_characters`: length of the extracted text at most."""

    content: bytes
    media_type: str
    parser: str
    max_characters: int


class TextBuilder:
    """Puts blocks together with a blank line between them. Raises `ParseFailure` when the text gets too long."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self.title: str | None = None

    def add(self, kind: BlockKind, text: str, *, level: int = 0, page: int | None = None) -> None:
        """Adds `text` without blank lines around it; blank text adds nothing. The first heading of level 1 becomes the title if there is none."""
        text = clean(text).strip("\n").rstrip() if kind == "code" else clean(text).strip()
        if not text.strip():
            return
        if kind == "heading":
            text = one_line(text)
            level = min(max(level, 1), 6)
            if level == 1 and self.title is None:
                self.title = text
        if self._parts:
            self._parts.append("\n\n")
            self._length += 2
        self._parts.append(text)
        self._blocks.append(Block(kind, self._length, self._length + len(text), level if kind == "heading" else 0, page))
        self._length += len(text)
        check_size(self._source, self._length, len(self._blocks))

    def build(self) -> ExtractedText:
        """The text so far."""
        return ExtractedText("".join(self._parts), tuple(self._blocks), self._source.parser, self.title or None)


def check_size(source: Source, characters: int, blocks: int) -> None:
    """Raises `ParseFailure` beyond the limits on extracted text."""
    if characters > source.max_characters:
        raise ParseFailure(f"holds more than {source.max_characters:,} characters of text; split it.")
    if blocks > MAX_BLOCKS:
        raise ParseFailure(f"has more than {MAX_BLOCKS:,} paragraphs; split it.")


def decode_utf8(content: bytes) -> str:
    """Strict UTF-8 without a byte order mark, newlines as \\n. Raises `ParseFailure`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParseFailure(f"is not UTF-8 text (byte {error.start}); convert it to UTF-8.") from None
    return normalise_newlines(text)


def normalise_newlines(text: str) -> str:
    """Newlines as \\n. Raises `ParseFailure` for NUL, which no text holds."""
    if "\x00" in text:
        raise ParseFailure("holds NUL bytes, so it is not text.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean(text: str) -> str:
    """Without control characters and lone surrogates, which can be neither stored nor shown."""
    return _UNWANTED.sub("\N{REPLACEMENT CHARACTER}", normalise_quietly(text))


def normalise_quietly(text: str) -> str:
    """Newlines as \\n, NUL dropped."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").replace("\x0c", "\n").replace("\x0b", "\n")


def one_line(text: str) -> str:
    """White space, newlines included, as single blanks."""
    return _BLANKS.sub(" ", text).strip()
