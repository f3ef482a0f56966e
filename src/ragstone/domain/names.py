"""Checks of names that come from outside: collections, document paths, tags. All raise `InvalidInput` naming the field."""

from __future__ import annotations

import re
import unicodedata

from ragstone.domain.errors import InvalidInput

MAX_PATH_BYTES = 1024
_COLLECTION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,99}")
_VERSION = re.compile(r"v[0-9]+")


def check_collection_name(name: str, field: str = "collection") -> str:
    """Returns `name`: 1 to 63 characters of a-z, 0-9 and '-', not beginning or ending with '-'."""
    if not _COLLECTION.fullmatch(name):
        raise InvalidInput(
            f"{field}: {name[:80]!r} is not a collection name; use 1 to 63 characters of a-z, 0-9 and '-', "
            "beginning and ending with a letter or digit.",
            field=field,
        )
    return name


def check_document_path(path: str, field: str = "path") -> str:
    """Returns `path` in Unicode NFC: relative, '/'-separated, no '.', '..', empty part, NUL, backslash or control character, <= 1024 bytes."""
    shown = repr(path if len(path) <= 80 else path[:77] + "...")
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{field}: {shown} is not valid Unicode; rename the document.", field=field) from None
    if size > MAX_PATH_BYTES:
        raise InvalidInput(f"{field}: a document path has at most {MAX_PATH_BYTES} bytes; this one has {size}.", field=field)
    path = unicodedata.normalize("NFC", path)
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(
            f"{field}: {shown} is not a document path; use parts separated by '/', none of them empty, '.' or '..'.", field=field
        )
    if any(unicodedata.category(c) in ("Cc", "Cs") or c == "\\" for c in path):
        raise InvalidInput(f"{field}: {shown} has a control character or backslash; rename the document.", field=field)
    return path


def check_tag_name(name: str, field: str = "tag") -> str:
    """Returns `name`: 1 to 100 characters of letters, digits, '.', '_' and '-', and not something that reads as a commit id."""
    if not _TAG.fullmatch(name) or _COMMIT.fullmatch(name):
        raise InvalidInput(
            f"{field}: {name[:80]!r} is not a tag name; use letters, digits, '.', '_' and '-', beginning with a letter or digit, "
            "and not only hexadecimal digits (that would read as a commit id).",
            field=field,
        )
    return name


def check_alias_name(name: str, field: str = "alias") -> str:
    """Returns `name`: 1 to 100 characters of a-z, 0-9, '.', '_' and '-', not `latest`, nor `v` and a number (registries mean something of their own by these)."""
    if not _ALIAS.fullmatch(name) or name == "latest" or _VERSION.fullmatch(name):
        raise InvalidInput(
            f"{field}: {name[:80]!r} is not an alias; use a-z, 0-9, '.', '_' and '-', beginning with a letter, neither 'latest' nor like 'v1'.",
            field=field,
        )
    return name
