"""Copies of files that are mostly holes: an index keeps a few hundred kilobytes in files of many megabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

BLOCK = 2**16  # bytes; a block of nothing but zeros is not written
_ZEROS = bytes(BLOCK)


def is_hole(block: bytes) -> bool:
    """Whether a block of at most `BLOCK` bytes is all zeros."""
    return block == _ZEROS[: len(block)]


def blocks(source: Path) -> Iterator[bytes]:
    """The file's bytes, `BLOCK` at a time."""
    with source.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def write_sparse(target: Path, content: Iterable[bytes], written: Callable[[int], None] = lambda _: None) -> None:
    """Makes the file of these blocks, its mode 0600. `written` is told of each block that is no hole, before it is written."""
    with target.open("xb") as file:
        target.chmod(0o600)
        size = 0
        for block in content:
            if not is_hole(block):
                written(len(block))
                file.seek(size)
                file.write(block)
            size += len(block)
        file.truncate(size)


def copy_tree(source: Path, target: Path) -> None:
    """Copies a folder of files and folders; links are left out. `target` is made."""
    target.mkdir(mode=0o700)
    for entry in sorted(source.iterdir()):
        if entry.is_symlink():
            continue
        if entry.is_dir():
            copy_tree(entry, target / entry.name)
        elif entry.is_file():
            write_sparse(target / entry.name, blocks(entry))


def allocated(folder: Path) -> int:
    """Bytes that the files of a folder take on disk, holes not counted. Files that vanish meanwhile take none."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total
