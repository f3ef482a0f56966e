"""The data directories of earlier formats, unpacked for a test."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import IO, Any

_STORED = Path(__file__).parents[1] / "data" / "directories"
_BLOCK = 2**16


def unpack(name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The directory in `folder`, and what the version that made it said of it. Runs of zeros become holes: the files are large and nearly empty."""
    with tarfile.open(_STORED / f"{name}.tar.xz") as archive:
        for member in archive:
            target = folder / member.name
            if member.isdir():
                target.mkdir(mode=0o700)
            elif (source := archive.extractfile(member)) is not None:
                _copy(source, target, member.size)
    return folder / "data", json.loads((_STORED / f"{name}.json").read_text())


def _copy(source: IO[bytes], target: Path, size: int) -> None:
    with target.open("wb") as file:
        while block := source.read(_BLOCK):
            if block.count(0) == len(block):
                file.seek(len(block), 1)
            else:
                file.write(block)
        file.truncate(size)
