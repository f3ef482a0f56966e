"""Expands JSON Lines (BEIR's `_id`, `title`, `text`) into one document a record."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from urllib.parse import quote

from ragstone.domain.documents import Metadata, MetadataValue
from ragstone.domain.errors import InvalidInput, TooLarge
from ragstone.domain.names import check_document_path

JSON_LINES = "application/jsonl"
RECORD = "application/json"
MAX_LINE_BYTES = 10_000_000
MAX_RECORDS = 1_000_000
_SUFFIXES = (".jsonl", ".ndjson")
_RECORD_KEYS = frozenset({"_id", "title", "text"})


@dataclass(frozen=True, slots=True)
class RecordDocument:
    """One record: `content` are its bytes as they stand in the file. `metadata`: its other fields, as far as they are scalars or lists of strings."""

    path: str
    content: bytes
    metadata: Metadata
    media_type: str = RECORD


@dataclass(frozen=True, slots=True)
class LineError:
    """A line that is no record. `line` counts from 1; `message` is a whole sentence that names path and line."""

    line: int
    message: str


def expand_json_lines(path: str, content: bytes) -> tuple[list[RecordDocument], list[LineError]]:
    """The documents of a JSON Lines file, at `<path without its suffix>/<_id>`, and the lines that could not be used.

    Blank lines are skipped. Raises `TooLarge` for more than `MAX_RECORDS` lines.
    """
    folder = next((path[: -len(suffix)] for suffix in _SUFFIXES if path.lower().endswith(suffix) and len(path) > len(suffix)), path)
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    if len(lines) > MAX_RECORDS:
        raise TooLarge(f"{path} has {len(lines):,} lines; at most {MAX_RECORDS:,} are read, split it.", field=path)
    documents: list[RecordDocument] = []
    errors: list[LineError] = []
    lines_by_path: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            document = _document(folder, line)
            first = lines_by_path.setdefault(document.path, number)
            if first != number:
                raise InvalidInput(f"it has the same _id as line {first}; give each record its own.")
        except InvalidInput as error:
            errors.append(LineError(number, f"{path}, line {number}: {error.message}"))
        else:
            documents.append(document)
    return documents, errors


def _document(folder: str, line: bytes) -> RecordDocument:
    if len(line) > MAX_LINE_BYTES:
        raise InvalidInput(f"it is longer than {MAX_LINE_BYTES:,} bytes; split it.")
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError:
        raise InvalidInput("it is not UTF-8 text; convert it to UTF-8.") from None
    except ValueError as error:
        raise InvalidInput(
            f"it is not JSON ({error.msg if isinstance(error, json.JSONDecodeError) else error}); each line is one JSON object."
        ) from None
    except RecursionError:
        raise InvalidInput("it is nested too deeply.") from None
    if not isinstance(record, dict):
        raise InvalidInput("it is not a JSON object; each line is one.")
    identifier = record.get("_id")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
        raise InvalidInput("it has no _id; that is a string that is not empty, or an integer.")
    if not isinstance(record.get("text"), str):
        raise InvalidInput("it has no text; that is a string.")
    if not isinstance(record.get("title", ""), str):
        raise InvalidInput("its title is not a string.")
    metadata = {
        key: value
        for key, value in ((key, _value(value)) for key, value in record.items())
        if key not in _RECORD_KEYS and value is not None
    }
    return RecordDocument(check_document_path(f"{folder}/{_path_part(str(identifier))}"), line, metadata)


def _value(value: object) -> MetadataValue | None:
    """`value` as metadata; None when it can't be. Integers beyond 64 bits become strings."""
    match value:
        case bool():
            return value
        case int():
            return value if -(2**63) <= value < 2**63 else str(value)
        case float():
            return value if math.isfinite(value) else None
        case str():
            return _storable(value)
        case list() if all(isinstance(item, str) for item in value):
            return tuple(_storable(item) for item in value)
    return None


def _storable(text: str) -> str:
    """Without lone surrogates, which have no UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _path_part(identifier: str) -> str:
    """`identifier`, percent-encoded where it would not stay one part of a path: distinct ids give distinct parts."""
    try:
        if identifier in (".", ".."):
            return identifier.replace(".", "%2E")
        check_document_path(identifier)
    except InvalidInput:
        plain = False
    else:
        plain = "/" not in identifier and "%" not in identifier
    return identifier if plain else quote(identifier, safe=" ", errors="surrogatepass")
