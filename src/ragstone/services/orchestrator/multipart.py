"""Multipart bodies: each file part is a document, whose filename is its path; other parts are fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from ragstone.domain.errors import InvalidInput, TooLarge
from ragstone.domain.uploads import Upload

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_FIELDS = ("collection", "options", "metadata")
_FIELD_BYTES = 8 * 2**20  # of all fields together; `metadata` may speak of thousands of documents


@dataclass(slots=True)
class Form:
    """What a multipart body held."""

    fields: dict[str, bytes] = field(default_factory=dict)
    uploads: list[Upload] = field(default_factory=list)


class _Collector:
    """The parser's callbacks."""

    def __init__(self, documents: int) -> None:
        self.form = Form()
        self._documents = documents
        self._headers: dict[str, str] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._data = bytearray()
        self._field_bytes = 0
        self.ended = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self._headers, self._data = {}, bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        try:
            self._headers[self._name.decode("ascii").lower()] = self._value.decode()
        except UnicodeDecodeError:
            raise InvalidInput("filename: a part's headers are not UTF-8; rename the document.", field="filename") from None
        self._name.clear()
        self._value.clear()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _part_end(self) -> None:
        disposition, options = _options(self._headers.get("content-disposition", ""))
        if disposition != "form-data":
            raise InvalidInput("body: a part lacks `Content-Disposition: form-data`.", field="body")
        if "filename" in options:
            self._document(options["filename"])
        else:
            self._field(options.get("name", ""))
        self._data = bytearray()

    def _document(self, path: str) -> None:
        if len(self.form.uploads) >= self._documents:
            raise TooLarge(f"documents: at most {self._documents:,} in one request; split it into several.", field="documents")
        media_type = self._headers.get("content-type", "").partition(";")[0].strip().lower()
        known = media_type if media_type != "application/octet-stream" else ""
        self.form.uploads.append(Upload(path, bytes(self._data), known or None))

    def _field(self, name: str) -> None:
        if name not in _FIELDS:
            raise InvalidInput(f"{name[:80] or 'body'}: parts are files, or the fields {', '.join(_FIELDS)}.", field=name[:80] or "body")
        if name in self.form.fields:
            raise InvalidInput(f"{name}: give it once.", field=name)
        self._field_bytes += len(self._data)
        if self._field_bytes > _FIELD_BYTES:
            raise TooLarge(f"{name}: the fields have at most {_FIELD_BYTES:,} bytes.", field=name)
        self.form.fields[name] = bytes(self._data)

    def _end(self) -> None:
        self.ended = True


async def read_multipart(request: Request, *, limit: int, documents: int) -> Form:
    """The form, counted while it arrives. Raises `TooLarge` beyond `limit` bytes or `documents` files, `InvalidInput` for a broken body."""
    _, options = _options(request.headers.get("content-type", ""))
    if not options.get("boundary"):
        raise InvalidInput("Content-Type: multipart/form-data needs a boundary.", field="Content-Type")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(limit)
    collector = _Collector(documents)
    size = 0
    try:
        parser = MultipartParser(options["boundary"].encode("latin-1"), collector.callbacks())
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            parser.write(piece)
        parser.finalize()
    except ClientDisconnect:
        raise InvalidInput("body: the connection ended before the body did.", field="body") from None
    except (FormParserError, MultipartParseError, UnicodeEncodeError) as error:
        raise InvalidInput(f"body: it is not a multipart form ({error}).", field="body") from None
    if not collector.ended:
        raise InvalidInput("body: the multipart form has no end; its last boundary is missing.", field="body")
    return collector.form


def _options(header: str) -> tuple[str, dict[str, str]]:
    """A header's value and parameters. The library works in Latin-1 whatever the text, so other characters go round it as UTF-8."""
    value, options = parse_options_header(header.encode().decode("latin-1"))
    return value.decode("latin-1"), {key.decode("latin-1"): text.decode("utf-8", "replace") for key, text in options.items()}


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"body: at most {limit:,} bytes in one request; split it into several.", field="body")
