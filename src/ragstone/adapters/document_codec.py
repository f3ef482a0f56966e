"""What is known of a document, and its extracted text, as the version stores keep them beside its bytes: JSON, equal values give equal bytes."""

from __future__ import annotations

import json
from typing import Any, cast

from ragstone.domain.documents import Block, BlockKind, DocumentInfo, ExtractedText


def encode_text(extracted: ExtractedText) -> bytes:
    """One line of JSON; lone surrogates, which some PDFs yield, survive."""
    blocks = [[block.kind, block.start, block.end, block.level, block.page] for block in extracted.blocks]
    fields = {"parser": extracted.parser, "title": extracted.title, "blocks": blocks, "text": extracted.text}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def decode_text(encoded: bytes) -> ExtractedText:
    """The reverse of `encode_text`."""
    fields = json.loads(encoded.decode("utf-8", "surrogatepass"))
    blocks = tuple(Block(cast("BlockKind", kind), start, end, level, page) for kind, start, end, level, page in fields["blocks"])
    return ExtractedText(fields["text"], blocks, fields["parser"], fields["title"])


def encode_info(about: DocumentInfo) -> bytes:
    """All but the path, in ASCII: no tab, no line feed, no surrogate."""
    fields: dict[str, Any] = {
        "media_type": about.media_type,
        "size": about.size,
        "sha256": about.checksum,
        "metadata": dict(sorted(about.metadata.items())),
        "title": about.title,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def decode_info(path: str, encoded: bytes) -> DocumentInfo:
    """The reverse of `encode_info`."""
    fields = json.loads(encoded)
    metadata = {key: tuple(value) if isinstance(value, list) else value for key, value in fields["metadata"].items()}
    return DocumentInfo(path, fields["media_type"], fields["size"], fields["sha256"], metadata, fields["title"])
