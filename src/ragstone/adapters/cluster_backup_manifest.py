"""What a backup of a cluster says of itself (docs/backup.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1
NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z")  # of a backup
_FILE = re.compile(r"[A-Za-z0-9._-]{1,200}")
_UID = "^[A-Za-z0-9-]{1,60}$"


@dataclass(frozen=True, slots=True)
class Refs:
    """Where a dump of a repository has its commits, tags and branches, in the repository's namespace. `main`: the commit that `main` was at."""

    commits_meta_range_id: str
    tags_meta_range_id: str
    branches_meta_range_id: str
    main: str


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackedUp(_Form):
    """A collection, where its head was, and the attempts that began while the backup was made: (first, last)."""

    name: str
    uid: str = Field(pattern=_UID)
    commit_id: str | None
    position: int | None
    later: tuple[int, int]
    indexes: tuple[str, ...]
    namespace: str
    refs: Refs


class File(_Form):
    """`size` in bytes; `sha256` of the content, in hexadecimal."""

    size: int
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(_Form):
    """What a backup holds. `objects`: the version store's, by their keys below `objects/`, with their sizes."""

    format: int
    name: str
    created_at: str
    ragstone: str
    schema_version: int
    collections: tuple[BackedUp, ...]
    files: dict[str, File]
    objects: dict[str, int]

    @property
    def size(self) -> int:
        """Bytes of everything, shared objects included."""
        return sum(file.size for file in self.files.values()) + sum(self.objects.values())

    @property
    def sound(self) -> bool:
        """Whether every name in it is one that a backup writes; what it holds leads nowhere else."""
        known = {one.uid for one in self.collections}
        files = all(_FILE.fullmatch(part) and part not in (".", "..") for file in self.files for part in file.split("/"))
        objects = all(key.partition("/")[0] in known and ".." not in key.split("/") for key in self.objects)
        return files and objects and all(f"index/{index}" in self.files for one in self.collections for index in one.indexes)
