"""A secret from the environment or a file; a file that changes is read anew."""

from __future__ import annotations

import logging
from pathlib import Path

from ragstone.domain.errors import InvalidInput

_MOST = 2**20  # bytes
_log = logging.getLogger(__name__)


class SecretSource:
    """Call it for the secret of now. Looking at the file costs a few microseconds; it is read when it is another one than before.

    `name` is the setting's, for errors. Raises `InvalidInput` when the file can't be read to begin with; later the secret of before goes on to count.
    """

    def __init__(self, name: str, *, value: str | None = None, file: Path | None = None) -> None:
        self._name = name
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._value = value or ""
        if file is not None:
            self._value, self._seen = self._read(file), _version(file)

    def __call__(self) -> str:
        if self._file is not None and (version := _version(self._file)) != self._seen and version is not None:
            try:
                self._value = self._read(self._file)
            except InvalidInput as error:
                _log.error("%s The secret of before stays in force.", error.message)
            self._seen = version
        return self._value

    def _read(self, file: Path) -> str:
        try:
            with file.open("rb") as opened:
                content = opened.read(_MOST + 1)
            if len(content) > _MOST:
                raise InvalidInput(f"{self._name}_file: it is larger than a secret can be; name the right file.", field=self._name)
            found = content.decode().strip()
        except (OSError, ValueError):
            raise InvalidInput(f"{self._name}_file: it can't be read; check its path and rights.", field=self._name) from None
        if not found:
            raise InvalidInput(f"{self._name}_file: it is empty; put the secret there.", field=self._name)
        return found


def _version(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
