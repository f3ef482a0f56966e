"""HTML to text: headings, paragraphs, lists, tables and code of a page's main part, without scripts, styles and navigation."""

from __future__ import annotations

import codecs
import re

from lxml import etree

from ragstone.adapters.parsing.charsets import codec_of
from ragstone.adapters.parsing.extraction import ParseFailure, Source, TextBuilder, decode_utf8, normalise_quietly, one_line
from ragstone.adapters.parsing.html_walker import Walker, main_part
from ragstone.domain.documents import ExtractedText

_CHARSET = re.compile(rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_LOOKED_AT = 4096  # bytes; HTML says 1024


def parse_html(source: Source) -> ExtractedText:
    """Raises `ParseFailure`. The title is the first heading of level 1 in the main part, else `<title>`."""
    markup = normalise_quietly(_decode(source.content)).encode("utf-8", "replace")
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        tree = etree.fromstring(markup, parser)
    except etree.XMLSyntaxError as error:
        raise ParseFailure(f"is not HTML ({str(error)[:100]}).") from None
    if any(
        entry.type_name == "ERR_INTERNAL_ERROR" or "depth" in entry.message for entry in parser.error_log if entry.level_name == "FATAL"
    ):
        raise ParseFailure("is nested too deeply to be read.")
    if tree is None:
        raise ParseFailure("holds no text.")
    builder = TextBuilder(source)
    Walker(builder).walk(main_part(tree))
    if builder.title is None:
        builder.title = one_line(tree.findtext(".//title") or "") or None
    return builder.build()


def _decode(content: bytes) -> str:
    """By the byte order mark, else as the page declares, else UTF-8; strictly. Raises `ParseFailure`."""
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return _strictly(content, "utf-16")
    name = None
    declared = _CHARSET.search(content[:_LOOKED_AT])
    if declared and not content.startswith(codecs.BOM_UTF8):
        name = codec_of(declared[1].decode("ascii"))
    if name is None or name.startswith("utf-"):  # a declaration of UTF-16 that could be read as ASCII is wrong
        return decode_utf8(content)
    return _strictly(content, name)


def _strictly(content: bytes, name: str) -> str:
    try:
        return content.decode(name)
    except UnicodeError:
        # A wrong declaration is more common than text that is valid UTF-8 by chance.
        try:
            return decode_utf8(content)
        except ParseFailure:
            raise ParseFailure(f"is neither {name}, as it declares, nor UTF-8; convert it to UTF-8.") from None
