"""Markdown to clean text: no marks, links by their text, code as it stands, headings as blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ragstone.adapters.parsing.extraction import ParseFailure, Source, TextBuilder, decode_utf8, one_line
from ragstone.adapters.parsing.list_text import ListText
from ragstone.adapters.parsing.markdown_source import plain_commonmark, split_front_matter
from ragstone.domain.documents import ExtractedText

_ATTRIBUTES = re.compile(r"[ \t]?\{:?[ \t]*[.#][\w-][^{}\n]*\}")  # {.class}, { #anchor }
_TERMINAL_MARKUP = re.compile(r"</?(?:span|font|b|i|u|em|strong|small)(?:\s[^<>\n]*)?>")  # as animated terminals in MkDocs take it
_DEEPEST = 200  # levels of nesting, two for each list in a list
_TERMINAL_LANGUAGES = frozenset({"console", "terminal"})
_BLOCK_NAMES = (
    "address article aside blockquote br dd div dl dt figcaption figure footer h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section "
    "summary table td th tr ul"
)
_BLOCK_TAGS = frozenset(_BLOCK_NAMES.split())
_SILENT_TAGS = frozenset({"script", "style", "template", "svg", "iframe"})


def parse_markdown(source: Source) -> ExtractedText:
    """Raises `ParseFailure`. The title is the front matter's, else the first heading of level 1."""
    title, text = split_front_matter(decode_utf8(source.content))
    walker = _Walker(source)
    walker.builder.title = title
    tokens = MarkdownIt("commonmark", {"maxNesting": _DEEPEST}).enable(["table", "strikethrough"]).parse(plain_commonmark(text))
    if any(token.level >= _DEEPEST - 1 for token in tokens):
        raise ParseFailure("is nested too deeply to be read.")  # the parser leaves out what is deeper
    walker.walk(tokens)
    return walker.builder.build()


class _Walker:
    """Goes over the flat list of block tokens. Lists and tables are collected line by line and added when they end."""

    def __init__(self, source: Source) -> None:
        self.builder = TextBuilder(source)
        self._list = ListText(self.builder)
        self._row: list[str] | None = None  # cells of the open table row
        self._rows: list[str] = []
        self._level = 0  # of the open heading

    def walk(self, tokens: Sequence[Token]) -> None:
        """Adds every token's text to the builder."""
        for token in tokens:
            handler = getattr(self, f"_on_{token.type}", None)
            if handler is not None:
                handler(token)

    def _on_heading_open(self, token: Token) -> None:
        self._level = int(token.tag[1])

    def _on_heading_close(self, token: Token) -> None:
        self._level = 0

    def _on_inline(self, token: Token) -> None:
        text = _inline_text(token.children or ())
        if self._row is not None:
            self._row.append(one_line(text))
        elif self._list.inside:
            self._list.add(text)
        elif self._level:
            self.builder.add("heading", text, level=self._level)
        else:
            self.builder.add("paragraph", text)

    def _on_fence(self, token: Token) -> None:
        code = token.content
        language = token.info.split(maxsplit=1)[0].lower() if token.info.strip() else ""
        if language in _TERMINAL_LANGUAGES:
            code = unescape(_TERMINAL_MARKUP.sub("", code))
        self._list.flush()
        self.builder.add("code", code)

    _on_code_block = _on_fence

    def _on_html_block(self, token: Token) -> None:
        text = html_text(token.content)
        if self._list.inside:
            self._list.add(text)
        else:
            self.builder.add("paragraph", text)

    def _on_bullet_list_open(self, token: Token) -> None:
        self._list.open()

    def _on_ordered_list_open(self, token: Token) -> None:
        start = token.attrGet("start")
        self._list.open(1 if start is None else int(start))

    def _on_list_item_open(self, token: Token) -> None:
        self._list.item()

    def _on_bullet_list_close(self, token: Token) -> None:
        self._list.close()

    _on_ordered_list_close = _on_bullet_list_close

    def _on_tr_open(self, token: Token) -> None:
        self._row = []

    def _on_tr_close(self, token: Token) -> None:
        self._rows.append(" | ".join(self._row or ()))
        self._row = None

    def _on_table_close(self, token: Token) -> None:
        self._list.flush()
        self.builder.add("table", "\n".join(self._rows))
        self._rows = []


def _inline_text(tokens: Sequence[Token]) -> str:
    """The text of a run of inline tokens. Line breaks in the source are blanks, hard ones stay."""
    parts: list[str] = []
    for token in tokens:
        match token.type:
            case "text":
                parts.append(token.content)
            case "code_inline":
                parts.append(token.content)
            case "softbreak":
                parts.append(" ")
            case "hardbreak":
                parts.append("\n")
            case "html_inline" if token.content.lower().startswith("<br"):
                parts.append("\n")
            case "image":
                parts.append(_inline_text(token.children or ()))
    return _ATTRIBUTES.sub("", "".join(parts))


class _HtmlText(HTMLParser):
    """Collects text; tags that stand for blocks become line breaks."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT_TAGS:
            self._silent += 1
        if tag in _BLOCK_TAGS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT_TAGS and self._silent:
            self._silent -= 1
        if tag in _BLOCK_TAGS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


def html_text(html: str) -> str:
    """The text of a piece of HTML inside Markdown, a line for each block."""
    parser = _HtmlText()
    parser.feed(html)
    parser.close()
    return "\n".join(line for line in (one_line(line) for line in "".join(parser.parts).split("\n")) if line)
