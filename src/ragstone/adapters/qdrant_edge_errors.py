"""Qdrant Edge raises bare `Exception`s; here their text decides what they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragstone.domain.errors import DataDirectoryError, InternalError, NotFound, RagstoneError, StorageFull

# Edge writes through memory maps, where a full disk is a signal that kills the process: so there must be room before anything is written.
# A shard's write-ahead log grows by 32 MiB at a time, and so do its vectors.
RESERVE = 128 * 2**20  # bytes

DAMAGED = "The index is damaged; restore the data directory from a backup."


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns what the engine raises into errors of ours. `doing` completes 'The index failed while ...'."""
    try:
        yield
    except RagstoneError:
        raise
    except Exception as error:  # bare Exception is all that the engine raises
        raise _error(str(error), doing) from error


def check_room(root: Path, payload: int = 0) -> None:
    """Raises `StorageFull` unless `RESERVE` and `payload` bytes are free."""
    if shutil.disk_usage(root).free < RESERVE + payload:
        raise _full()


def _error(text: str, doing: str) -> RagstoneError:
    if "No space left" in text or "StorageFull" in text or "os error 28" in text:
        return _full()
    if "WouldBlock" in text:
        return DataDirectoryError("The index is open in another process; stop that one, or use another data directory.")
    if "not initialized" in text:
        return NotFound("The index was dropped meanwhile.", field="index")
    if "cannot load edge shard" in text or "no segments were loaded" in text or "failed to open WAL" in text:
        return DataDirectoryError(DAMAGED)
    return InternalError(f"The index failed while {doing}; the log has the engine's own words.")


def _full() -> StorageFull:
    return StorageFull("No space is left for the index; free some (it needs at least 128 MiB) and try again.")
