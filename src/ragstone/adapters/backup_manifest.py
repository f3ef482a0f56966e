"""What a backup says of itself, as the first file of its archive: what it holds, and every file with its size and SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import ragstone
from ragstone.adapters.data_formats import DATABASE_FILE, FORMAT, FORMAT_FILE
from ragstone.adapters.sparse_files import Run, data_runs, pieces
from ragstone.adapters.sqlite_backup import Copied
from ragstone.adapters.sqlite_schema import MIGRATIONS as DATABASE
from ragstone.domain.errors import InvalidInput

BACKUP_FORMAT = 1
MANIFEST, CONTENT = "manifest.json", "data/"  # names in the archive: the manifest, and what is below the data directory
MANIFEST_LIMIT = 256 * 2**20  # bytes
_FOLDERS = ("index/", "spool/", "versions/")


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackedUp(_Form):
    """A collection and where its head is; None for one without commits."""

    name: str
    commit_id: str | None
    position: int | None
    seq: int | None


class StoredFile(_Form):
    """`size` in bytes. The archive holds the bytes of `runs` (offset, length) alone; the rest is zeros. `sha256`: see `digest_of`."""

    path: str = Field(max_length=1000)
    size: int = Field(ge=0, lt=2**50)
    runs: list[tuple[int, int]]
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def stored(self) -> int:
        """Bytes that the archive holds."""
        return sum(length for _, length in self.runs)

    @model_validator(mode="after")
    def _in_order(self) -> StoredFile:
        end = 0
        for offset, length in self.runs:
            if offset < end or length < 1:
                raise ValueError("runs must be in order and not overlap")
            end = offset + length
        if end > self.size:
            raise ValueError("runs must end within the file")
        return self


class Manifest(_Form):
    """`format` is the backup's own, `directory_format` and `database_version` those of what it holds. Files come in the archive's order."""

    format: int
    ragstone: str
    created_at: str
    directory_format: int
    database_version: int
    collections: list[BackedUp]
    folders: list[str]
    files: list[StoredFile]


def describe(folder: Path, copied: Sequence[Copied], created_at: str) -> Manifest:
    """The manifest of what lies in `folder`."""
    paths = sorted(folder.rglob("*"))
    return Manifest(
        format=BACKUP_FORMAT,
        ragstone=ragstone.__version__,
        created_at=created_at,
        directory_format=FORMAT,
        database_version=len(DATABASE),
        collections=[
            BackedUp(
                name=each.collection.name,
                commit_id=each.head.id if each.head else None,
                position=each.head.position if each.head else None,
                seq=each.head.seq if each.head else None,
            )
            for each in copied
        ],
        folders=[str(path.relative_to(folder)) for path in paths if path.is_dir() and path.parent != folder],
        files=[_stored(folder, path) for path in paths if path.is_file()],
    )


def parse(content: bytes) -> Manifest:
    """A checked manifest. Raises `InvalidInput` for what is none, for a newer format, and for a path that leads elsewhere."""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise InvalidInput("This is no backup of ragstone's, or it is damaged: its manifest can't be read.", field="file") from error
    newer = manifest.format > BACKUP_FORMAT or manifest.directory_format > FORMAT or manifest.database_version > len(DATABASE)
    if newer:
        raise InvalidInput(
            f"The backup was made by a newer ragstone ({manifest.ragstone[:40]}); upgrade ragstone to restore it.", field="file"
        )
    paths = [*manifest.folders, *(file.path for file in manifest.files)]
    if len(set(paths)) != len(paths):
        raise InvalidInput("The backup's manifest names a file twice; it is damaged.", field="file")
    for path in paths:
        _check_path(path)
    if not {FORMAT_FILE, DATABASE_FILE} <= {file.path for file in manifest.files}:
        raise InvalidInput("The backup's manifest lacks the database or the format; it is damaged.", field="file")
    return manifest


def _check_path(path: str) -> None:
    known = path in (FORMAT_FILE, DATABASE_FILE) or f"{path}/".startswith(_FOLDERS)
    usable = all(part not in ("", ".", "..") and part.isprintable() and "\\" not in part for part in path.split("/"))
    if not (known and usable):
        raise InvalidInput(f"The backup holds {path[:200]!r}, which is no file of a data directory; it is damaged.", field="file")


def digest_of(size: int, runs: Sequence[Run]) -> hashlib._Hash:
    """The SHA-256 of a file's size and runs (8 bytes a number, big-endian), to be updated with the bytes of the runs: equal for equal files."""
    numbers = [size, *(number for run in runs for number in run)]
    return hashlib.sha256(b"".join(number.to_bytes(8, "big") for number in numbers))


def _stored(folder: Path, path: Path) -> StoredFile:
    with path.open("rb") as file:
        size, runs = path.stat().st_size, data_runs(file)
        digest = digest_of(size, runs)
        for run in runs:
            for piece in pieces(file, *run):
                digest.update(piece)
    return StoredFile(path=str(path.relative_to(folder)), size=size, runs=runs, sha256=digest.hexdigest())
