"""A bounded file of lines that are durable once they are appended; a line that a crash cut short is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ragstone.adapters.durable_files import sync_directory, write_durably

_PIECE = 2**20


class SpoolFile:
    """One process uses it; its calls must not overlap. Blocking. Raises OSError.

    `size` in bytes, `lines` how many there are.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.with_suffix(".new").unlink(missing_ok=True)  # of a `replace` that was cut short
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        sync_directory(path.parent)
        self.size = self.lines = 0
        self._mend()

    def append(self, lines: list[bytes]) -> None:
        """Adds lines (without a newline in them), all or none, and syncs them."""
        content = b"".join(line + b"\n" for line in lines)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(content)
        self.lines += len(lines)

    def read(self, offset: int, limit: int) -> tuple[list[bytes], int]:
        """At most `limit` lines from `offset` on (bytes; 0 or what an earlier call returned), and where they end."""
        found: list[bytes] = []
        for line in self._from(offset):
            found.append(line)
            offset += len(line) + 1
            if len(found) == limit:
                break
        return found, offset

    def clear(self) -> None:
        """Empties it."""
        os.ftruncate(self._file, 0)
        os.fsync(self._file)
        self.size = self.lines = 0

    def replace(self, lines: list[bytes]) -> None:
        """These lines instead; a crash leaves the old ones or the new ones."""
        content = b"".join(line + b"\n" for line in lines)
        write_durably(self._path, content, self._path.with_suffix(".new"))
        sync_directory(self._path.parent)
        os.close(self._file)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND)
        self.size, self.lines = len(content), len(lines)

    def close(self) -> None:
        """Ends its use."""
        os.close(self._file)

    def _from(self, offset: int) -> Iterator[bytes]:
        rest = b""
        while piece := os.pread(self._file, _PIECE, offset):
            offset += len(piece)
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole

    def _mend(self) -> None:
        for line in self._from(0):
            self.size += len(line) + 1
            self.lines += 1
        if os.fstat(self._file).st_size > self.size:
            os.ftruncate(self._file, self.size)
            os.fsync(self._file)
