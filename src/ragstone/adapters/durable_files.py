"""Files that are whole and survive power loss, or are not there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_durably(target: Path, content: bytes, temporary: Path) -> None:
    """Writes and fsyncs `temporary`, then renames it to `target`. Call `sync_directory` on the target's directory afterwards.

    Raises `FileExistsError`, and touches nothing, when `temporary` exists; on any other `OSError` it is removed.
    """
    file = temporary.open("xb")
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable. A directory that is gone needs nothing."""
    with suppress(FileNotFoundError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
