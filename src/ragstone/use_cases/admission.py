"""The door of ingestion: what is refused before anything is stored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ragstone.domain.access import check_groups
from ragstone.domain.documents import Metadata
from ragstone.domain.errors import InvalidInput, RagstoneError, TooLarge, UnreadableDocument
from ragstone.domain.jobs import DocumentFailure
from ragstone.domain.jsonl import JSON_LINES, expand_json_lines
from ragstone.domain.names import check_document_path
from ragstone.domain.uploads import Upload
from ragstone.ports.document_parser import DocumentParser
from ragstone.use_cases.limits import Limits

_JSON_LINES = frozenset({JSON_LINES, "application/x-ndjson", "application/x-jsonlines"})


class Admission:
    """Checks uploads one by one; a bad one is reported and does not stop the others."""

    def __init__(self, parser: DocumentParser, limits: Limits) -> None:
        self._parser = parser
        self._limits = limits

    def admit(self, uploads: Iterable[Upload]) -> tuple[list[Upload], list[DocumentFailure]]:
        """Uploads with checked paths and known media types, JSON Lines expanded; and those refused. Raises `TooLarge` for too many."""
        admitted: dict[str, Upload] = {}
        refused: list[DocumentFailure] = []
        for upload in uploads:
            try:
                for document in self._expand(self._check(upload), refused):
                    if document.path in admitted:
                        raise InvalidInput(f"{document.path}: named twice in one request; send it once.", field=document.path)
                    admitted[document.path] = document
            except RagstoneError as error:
                refused.append(DocumentFailure(upload.path[:200], error.code, error.message, error.status))
            if len(admitted) > self._limits.documents:
                raise TooLarge(f"documents: at most {self._limits.documents:,} in one request; split it into several.", field="documents")
        return list(admitted.values()), refused

    def _check(self, upload: Upload) -> Upload:
        path = check_document_path(upload.path)
        if not upload.content:
            raise UnreadableDocument(f"{path}: the file is empty; leave it out.", field=path)
        if len(upload.content) > self._limits.document_bytes:
            raise TooLarge(
                f"{path}: it has {len(upload.content):,} bytes; at most {self._limits.document_bytes:,} are taken. Split it.", field=path
            )
        check_metadata(path, upload.metadata, self._limits.metadata_bytes)
        if upload.groups is not None:
            check_groups(upload.groups)
        return replace(upload, path=path, media_type=upload.media_type or self._parser.media_type(path, upload.content))

    def _expand(self, upload: Upload, refused: list[DocumentFailure]) -> Iterator[Upload]:
        if upload.media_type not in _JSON_LINES:
            yield upload
            return
        records, errors = expand_json_lines(upload.path, upload.content)
        refused += [DocumentFailure(f"{upload.path}:{error.line}", UnreadableDocument.code, error.message) for error in errors]
        for record in records:
            metadata = {**record.metadata, **upload.metadata}
            try:
                check_metadata(record.path, metadata, self._limits.metadata_bytes)
            except InvalidInput as error:
                refused.append(DocumentFailure(record.path, error.code, error.message, error.status))
            else:
                yield Upload(record.path, record.content, record.media_type, metadata, upload.groups)


def check_metadata(path: str, metadata: Metadata, limit: int) -> None:
    """Raises `InvalidInput` naming the key that is wrong, `TooLarge` beyond `limit` bytes of JSON."""
    for key, value in metadata.items():
        if not key or len(key) > 64 or not key.replace("_", "").replace("-", "").isalnum() or not key.isascii():
            raise InvalidInput(
                f"{path}: metadata key {key[:80]!r} is not usable; use 1 to 64 letters, digits, '_' and '-'.", field=f"metadata.{key[:80]}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput(f"{path}: metadata {key!r} is not a finite number.", field=f"metadata.{key}")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise InvalidInput(f"{path}: metadata {key!r} is beyond 64 bits; store it as text.", field=f"metadata.{key}")
    if len(json.dumps(dict(metadata)).encode()) > limit:
        raise TooLarge(f"{path}: its metadata has more than {limit:,} bytes; shorten it.", field="metadata")
