"""A file that is written under another name, and takes its own at the end: whole, or not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ragstone.domain.errors import Conflict, InvalidInput, StorageFull


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """The file, open, as `<name>.part`; an error removes it. Raises `Conflict` rather than replace another file, `InvalidInput`, `StorageFull`."""
    part = path.with_name(f"{path.name}.part")
    try:
        if os.path.lexists(path):
            raise Conflict(f"{path}: it is there already; name another file.", field="output")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.link(part, path)  # unlike a rename it replaces nothing
            finally:
                part.unlink(missing_ok=True)
    except FileExistsError:
        raise Conflict(f"{path}: it or {part.name} is there already; name another file, or remove it.", field="output") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"{path}: no space is left there; free some.", field="output") from None
        raise InvalidInput(f"{path}: it can't be written ({(error.strerror or str(error)).lower()}).", field="output") from None
