"""Files that are mostly holes: an index keeps a few hundred kilobytes in files of many megabytes. Only what is in them is read and written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK = 2**16  # bytes; a block of nothing but zeros counts as a hole
_ZEROS = bytes(_BLOCK)
Run = tuple[int, int]  # offset and length in bytes


def data_runs(file: BinaryIO) -> list[Run]:
    """Where an open file holds anything but zeros, in order; runs do not touch."""
    found: list[Run] = []
    for offset, block in _blocks(file):
        if found and sum(found[-1]) == offset:
            found[-1] = (found[-1][0], found[-1][1] + len(block))
        else:
            found.append((offset, len(block)))
    return found


def pieces(file: BinaryIO, offset: int, length: int) -> Iterator[bytes]:
    """The bytes of a run, some at a time. Raises `EOFError` when the file is shorter."""
    file.seek(offset)
    while length:
        piece = file.read(min(length, _BLOCK))
        if not piece:
            raise EOFError
        length -= len(piece)
        yield piece


def copy_tree(source: Path, target: Path) -> None:
    """Copies a folder of files and folders, for the owner alone; links are left out. `target` is made."""
    target.mkdir(mode=0o700)
    for entry in sorted(source.iterdir()):
        if entry.is_symlink():
            continue
        if entry.is_dir():
            copy_tree(entry, target / entry.name)
        elif entry.is_file():
            _copy(entry, target / entry.name)


def allocated(folder: Path) -> int:
    """Bytes that the files of a folder take on disk, holes not counted. Files that vanish meanwhile take none."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def create(path: Path) -> BinaryIO:
    """A new file, for the owner alone, open for writing."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as old, create(target) as new:
        for offset, block in _blocks(old):
            new.seek(offset)
            new.write(block)
        new.truncate(_size(old))


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Blocks that are not all zeros, with their offsets."""
    end = _size(file)
    offset = 0
    while (offset := _next_data(file, offset, end)) < end:
        offset -= offset % _BLOCK
        file.seek(offset)
        block = file.read(_BLOCK)
        if not block:
            return
        if block != _ZEROS[: len(block)]:
            yield offset, block
        offset += len(block)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _next_data(file: BinaryIO, offset: int, end: int) -> int:
    """The next offset that is in no hole, as far as the file system tells."""
    try:
        return os.lseek(file.fileno(), offset, os.SEEK_DATA)
    except OSError as error:
        return end if error.errno == errno.ENXIO else offset  # ENXIO: no more data; anything else: it can't tell
