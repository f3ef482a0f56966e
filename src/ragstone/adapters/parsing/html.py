"""HTML to text: headings, paragraphs, lists, tables and code of a page's main part, without scripts, styles and navigation."""

from __future__ import annotations

import codecs
import re

from lxml import etree

from ragstone.adapters.parsing.extraction import ParseFailure, Source, TextBuilder, decode_utf8, normalise_quietly, one_line
from ragstone.adapters.parsing.html_walker import Walker, main_part
from ragstone.domain.documents import ExtractedText

_CHARSET = re.compile(rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_LOOKED_AT = 4096  # bytes; HTML says 1024
_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

# The encodings of the WHATWG standard. All are loaded with this module, since no file can be opened while a document is read.
_NAMES = (
    "utf-8 utf-16 utf-16-le utf-16-be cp866 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 iso8859-10 iso8859-13 "
    "iso8859-14 iso8859-15 iso8859-16 koi8-r koi8-u mac-roman cp874 cp932 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 "
    "gbk gb18030 big5 euc_jp iso2022_jp shift_jis euc_kr iso8859-1 iso8859-9 ascii gb2312"
)
_KNOWN = frozenset(codecs.lookup(name).name for name in _NAMES.split())
_READ_AS = {"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "gb2312": "gbk", "shift_jis": "cp932"}  # as browsers do
_XHTML_PREFIX = "{http://www.w3.org/1999/xhtml}"


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
    name = _BYTE_ORDER_MARKS.get(content[:2])
    declared = _CHARSET.search(content[:_LOOKED_AT])
    if name is None and declared and not content.startswith(codecs.BOM_UTF8):
        name = _codec(declared[1].decode("ascii"))
    if name is None or name.startswith("utf-8"):
        return decode_utf8(content)
    try:
        return content.decode(name)
    except UnicodeError:
        # A wrong declaration is more common than text that is valid UTF-8 by chance.
        try:
            return decode_utf8(content)
        except ParseFailure:
            raise ParseFailure(f"is neither {name}, as it declares, nor UTF-8; convert it to UTF-8.") from None


def _codec(label: str) -> str | None:
    """The codec to read a declared encoding with; None for one that is not known, or that this very declaration excludes (UTF-16)."""
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return None
    if name not in _KNOWN or name.startswith("utf-16"):
        return None
    return _READ_AS.get(name, name)
