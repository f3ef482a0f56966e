"""What a point carries in Qdrant Edge: an `IndexedChunk` to read back, and flat fields to filter by."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from ragstone.domain.documents import Metadata, MetadataValue
from ragstone.domain.filters import Scalar, as_double, is_number
from ragstone.domain.retrieval import IndexedChunk

_STORED_AS_IS = (
    "path", "title", "text", "start", "end", "page", "content_hash", "occurrence", "media_type", "checksum", "commit_id", "seq_from", "seq_to",
)  # fmt: skip


def to_payload(chunk: IndexedChunk) -> dict[str, Any]:
    """The payload of a point. `metadata` is JSON text: integers of any size, floats and lists come back as they were.

    `facets` holds every (key, value) and every key present, `numbers` the values that a range can be asked of.
    """
    values: dict[str, object] = {**chunk.metadata, "path": chunk.path, "media_type": chunk.media_type, "title": chunk.title}
    payload: dict[str, Any] = {name: getattr(chunk, name) for name in _STORED_AS_IS}
    payload["heading_path"] = list(chunk.heading_path)
    payload["metadata"] = json.dumps(dict(chunk.metadata), ensure_ascii=False)
    payload["facets"] = [facet for key, value in values.items() for facet in _facets(key, value)]
    payload["numbers"] = {number_key(key): _clamped(value) for key, value in values.items() if is_number(value) and not math.isnan(value)}
    return payload


def from_payload(id_: str, payload: Mapping[str, Any]) -> IndexedChunk:
    """The chunk that `to_payload` stored."""
    return IndexedChunk(
        id=id_,
        heading_path=tuple(payload["heading_path"]),
        metadata=_metadata(payload["metadata"]),
        **{name: payload[name] for name in _STORED_AS_IS},
    )


def value_facet(key: str, value: Scalar) -> str:
    """The facet of a key with this value. Equal numbers have equal facets, whether integer or float."""
    return json.dumps([key, as_double(value) + 0.0 if is_number(value) else value], ensure_ascii=False)


def key_facet(key: str) -> str:
    """The facet of a key being present."""
    return json.dumps([key], ensure_ascii=False)


def number_key(key: str) -> str:
    """A metadata key as the name of a field that a JSON path can spell."""
    return quote(key, safe="")


def number_path(key: str) -> str:
    """The JSON path of a metadata key's number."""
    return _path(number_key(key))


def number_paths(payload: Mapping[str, Any]) -> list[str]:
    """The JSON paths of the numbers that a stored payload has."""
    numbers = payload.get("numbers")
    return [_path(key) for key in numbers] if isinstance(numbers, dict) else []


def _path(key: str) -> str:
    return f'numbers."{key}"'


def indexed_numbers(fields: Iterable[str]) -> set[str]:
    """Those of the engine's field indexes that are of numbers, as `number_path` writes them: the engine leaves out quotes that it does not need."""
    return {_path(name.removeprefix("numbers.").strip('"')) for name in fields if name.startswith("numbers.")}


def _facets(key: str, value: object) -> list[str]:
    if value in (None, (), []):
        return []
    elements = value if isinstance(value, (list, tuple)) else (value,)
    return [key_facet(key), *(value_facet(key, element) for element in elements)]


def _clamped(number: float) -> float:
    """JSON has no infinity."""
    return min(max(as_double(number), -sys.float_info.max), sys.float_info.max)


def _metadata(stored: str) -> Metadata:
    if stored == "{}":
        return {}
    values: dict[str, MetadataValue | list[str]] = json.loads(stored)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
