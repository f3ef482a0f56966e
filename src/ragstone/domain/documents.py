"""Documents, the text extracted from them, and the chunks cut from that text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MetadataValue = str | int | float | bool | tuple[str, ...]
Metadata = Mapping[str, MetadataValue]
BlockKind = Literal["heading", "paragraph", "list", "table", "code"]


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """What is known of a document without its bytes. `checksum` is the SHA-256 of the bytes in hexadecimal; `size` is in bytes."""

    path: str
    media_type: str
    size: int
    checksum: str
    metadata: Metadata = field(default_factory=dict)
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A structural piece of extracted text: `text[start:end]`. `level` is 1 to 6 for headings, 0 otherwise; `page` counts from 1."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    page: int | None = None


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """The text of a document as parsed. Spans everywhere in ragstone are character offsets into `text`.

    `blocks` are in order and do not overlap. `parser` is `name/version`.
    """

    text: str
    blocks: tuple[Block, ...]
    parser: str
    title: str | None = None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as the version store keeps it: the original bytes and, beside it, the extracted text."""

    info: DocumentInfo
    content: bytes
    extracted: ExtractedText


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of one document.

    `text == extracted.text[start:end]`. `heading_path` are the titles above it, outermost first (the document's title included).
    `content_hash` covers `embedded_text`, that is text and heading path. `occurrence` counts equal hashes in one document from 0.
    """

    text: str
    heading_path: tuple[str, ...]
    start: int
    end: int
    content_hash: str
    occurrence: int
    page: int | None = None

    @property
    def embedded_text(self) -> str:
        """What is embedded and indexed for BM25: the heading path on a line of its own, then the text."""
        return embedded_text(self.heading_path, self.text)


def embedded_text(heading_path: tuple[str, ...], text: str) -> str:
    """The text that stands for a chunk in both indexes."""
    return " > ".join(heading_path) + "\n" + text if heading_path else text


def content_hash(heading_path: tuple[str, ...], text: str) -> str:
    """SHA-256 of the embedded text, in hexadecimal."""
    return hashlib.sha256(embedded_text(heading_path, text).encode()).hexdigest()


def checksum(content: bytes) -> str:
    """SHA-256 of a document's bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
