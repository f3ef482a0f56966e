"""PDF to text, page by page: lines joined to paragraphs, headings where the document's outline names them."""

from __future__ import annotations

import io
import logging
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pypdf import PasswordType, PdfReader
from pypdf.errors import DependencyError, LimitReachedError, PyPdfError

import ragstone.adapters.parsing.charsets  # noqa: F401 - fonts name encodings, which must be loaded before
from ragstone.adapters.parsing.extraction import ParseFailure, Source, TextBuilder, check_size, one_line
from ragstone.domain.documents import ExtractedText

logging.getLogger("pypdf").setLevel(logging.CRITICAL)

_ITEM = re.compile(r"(?:[•▪‣◦●○■–*-]|\(?\d{1,3}[.)]|\([a-z]\))\s")
_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
_NOT_WORD = re.compile(r"\W+")
_NO_TITLE = re.compile(r"(?i)untitled.*|microsoft word - .*|.*\.(?:docx?|tex|dvi|indd|qxd|pdf)|")
_FULL_LINE = 0.8  # share of the page's usual line above which a line does not end a paragraph
_SHORT_LINE = 0.5  # share below which a line stands alone
_DEEPEST_OUTLINE = 6
_LEAST_REPEATED = 3  # pages on which a running title stands at least
_OFTEN = 0.3  # share of the pages

Headings = dict[int, dict[str, int]]  # page -> letters of the title -> level


def parse_pdf(source: Source) -> ExtractedText:
    """Raises `ParseFailure`: broken, encrypted with a password, or without text. An empty user password is tried."""
    try:
        reader = PdfReader(io.BytesIO(source.content))
        if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
            raise ParseFailure("is encrypted; save it without a password.")
        title = _title(reader)
        headings = _outline(reader)
        pages = _page_lines(source, reader)
    except LimitReachedError as error:
        raise ParseFailure(f"expands beyond the limits ({_reason(error)}).") from None
    except DependencyError:
        raise ParseFailure("is encrypted in a way that can't be read; save it without a password.") from None
    except PyPdfError as error:
        raise ParseFailure(f"is a broken PDF ({_reason(error)}).") from None
    builder = TextBuilder(source)
    margins = _margins(pages)
    for number, lines in enumerate(pages, start=1):
        _add_page(builder, number, _without(lines, margins), headings.get(number, {}))
    extracted = builder.build()
    if not extracted.text:
        raise ParseFailure("holds no text; if it is a scan, run text recognition (OCR) on it first.")
    return replace(extracted, title=title)  # the first heading of an outline is a chapter's


def _page_lines(source: Source, reader: PdfReader) -> list[list[str]]:
    pages: list[list[str]] = []
    length = 0
    for page in reader.pages:
        text = page.extract_text()
        length += len(text)
        check_size(source, length, len(pages))
        pages.append([one_line(line) for line in text.split("\n")])
    return pages


def _margins(pages: Sequence[Sequence[str]]) -> frozenset[str]:
    """Keys of the lines that stand first or last on many pages: running titles and page numbers."""
    counts: Counter[str] = Counter()
    for lines in pages:
        filled = [line for line in lines if line]
        counts.update({_key(line) for line in (*filled[:1], *filled[-1:])})
    return frozenset(key for key, count in counts.items() if count >= max(_LEAST_REPEATED, _OFTEN * len(pages)))


def _without(lines: Sequence[str], margins: frozenset[str]) -> list[str]:
    filled = [index for index, line in enumerate(lines) if line]
    dropped = {index for index in (*filled[:1], *filled[-1:]) if _key(lines[index]) in margins}
    return [line for index, line in enumerate(lines) if index not in dropped]


def _key(line: str) -> str:
    """A line without what differs from page to page."""
    return _NUMBER.sub("0", line)


def _reason(error: Exception) -> str:
    return one_line(str(error))[:100].rstrip(".") or type(error).__name__


def _title(reader: PdfReader) -> str | None:
    metadata = reader.metadata
    title = one_line(str(metadata.title or "")) if metadata else ""
    return None if _NO_TITLE.fullmatch(title) else title


def _outline(reader: PdfReader) -> Headings:
    """The outline's titles by page. A broken outline is as good as none: it holds no text of its own."""
    headings: Headings = {}
    try:
        pending: list[tuple[object, int]] = [(reader.outline, 0)]
        while pending:
            entry, level = pending.pop()
            if isinstance(entry, list):
                pending += [(child, level + 1) for child in entry]
                continue
            page = reader.get_destination_page_number(entry)  # type: ignore[arg-type]
            if page is not None:
                headings.setdefault(page + 1, {})[_letters(str(entry.title))] = min(level, _DEEPEST_OUTLINE)  # type: ignore[attr-defined]
    except (PyPdfError, AttributeError, KeyError, TypeError, ValueError):
        return {}
    return headings


def _letters(text: str) -> str:
    return _NOT_WORD.sub("", text).casefold()


def _add_page(builder: TextBuilder, number: int, page: Sequence[str], headings: dict[str, int]) -> None:
    lines: list[str] = []
    for line in page:
        level = headings.pop(_letters(line), None) if line and headings else None
        if level is None:
            lines.append(line)
            continue
        _add_paragraphs(builder, number, lines)
        lines = []
        builder.add("heading", line, level=level, page=number)
    _add_paragraphs(builder, number, lines)


def _add_paragraphs(builder: TextBuilder, number: int, lines: Sequence[str]) -> None:
    for paragraph in _paragraphs(lines):
        builder.add("paragraph", _joined(paragraph), page=number)


def _paragraphs(lines: Sequence[str]) -> Iterator[list[str]]:
    """Groups of lines. A paragraph ends at a blank line, after a short line, before a list item."""
    lengths = [len(line) for line in lines if line]
    usual = statistics.quantiles(lengths, n=10)[-1] if len(lengths) > 1 else 0
    paragraph: list[str] = []
    for line in lines:
        if paragraph and (not line or _ITEM.match(line) or _ends(paragraph[-1], line, usual)):
            yield paragraph
            paragraph = []
        if line:
            paragraph.append(line)
    if paragraph:
        yield paragraph


def _ends(line: str, following: str, usual: float) -> bool:
    """Whether `line` is the last of its paragraph."""
    if len(line) < _SHORT_LINE * usual and not following[:1].islower():
        return True
    return len(line) < _FULL_LINE * usual and line.endswith((".", "!", "?", ":", ".”", '."', ".)"))


def _joined(lines: Iterable[str]) -> str:
    """One line. A hyphen between a letter and a small letter was put there to break the word."""
    text = ""
    parts: list[str] = []
    for line in lines:
        if text:
            broken = text.endswith(("-", "\N{SOFT HYPHEN}")) and text[-2:-1].isalpha() and line[:1].islower()
            parts.append(text[:-1] if broken else text + " ")
        text = line
    return "".join([*parts, text])
