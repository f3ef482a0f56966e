"""Documents on this machine, ready to be compared and sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class LocalDocument:
    """A file, or one record of a JSON Lines file (then its bytes are in `content`). `checksum`: SHA-256 in hexadecimal; `size` in bytes."""

    path: str
    source: Path
    checksum: str
    size: int
    content: bytes | None = None
    media_type: str | None = None  # None: the server tells it from path and bytes
    metadata: dict[str, Any] = field(default_factory=dict)

    def pieces(self, size: int) -> Iterator[bytes]:
        """The bytes. Raises OSError."""
        if self.content is not None:
            yield self.content
            return
        with self.source.open("rb") as file:
            while piece := file.read(size):
                yield piece


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or line that is not sent. `path` is its document path where it has one; `code` is stable, `reason` a sentence."""

    path: str
    code: str
    reason: str


def file_checksum(path: Path) -> str:
    """SHA-256 of a file in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
