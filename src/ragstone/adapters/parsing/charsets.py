"""Encodings that documents may declare. All are loaded with this module, since no file can be opened while a document is read."""

from __future__ import annotations

import codecs

# Those of the WHATWG Encoding Standard that Python has, and those of PDF's predefined CMaps.
_NAMES = (
    "utf-8 utf-8-sig utf-16 utf-16-le utf-16-be cp866 iso8859-1 iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 "
    "iso8859-9 iso8859-10 iso8859-13 iso8859-14 iso8859-15 iso8859-16 koi8-r koi8-u mac-roman cp874 cp932 cp949 cp950 cp1250 cp1251 cp1252 "
    "cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 gb2312 gbk gb18030 big5 euc_jp iso2022_jp shift_jis euc_kr ascii"
)
_KNOWN = frozenset(codecs.lookup(name).name for name in _NAMES.split())
# What pages declare is read as browsers do: as the superset that is meant.
_READ_AS = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gbk",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "cp950",
}


def codec_of(label: str) -> str | None:
    """The codec to read a declared encoding with; None for one that is not known."""
    try:
        name = codecs.lookup(label).name
    except (LookupError, OSError):  # OSError: it would have to be loaded
        return None
    return _READ_AS.get(name, name) if name in _KNOWN else None
