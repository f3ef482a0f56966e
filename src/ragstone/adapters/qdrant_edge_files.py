"""Where an index lies on disk: generations of a shard, and one small file that says which of them counts.

`<root>/<index>/index.json` names the generation (`g<n>`, a Qdrant Edge shard). It is replaced by rename, so that after a crash either the
old generation counts or the new one. Folders whose name begins with a dot are being made or removed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ragstone.adapters.sparse_files import allocated
from ragstone.domain.errors import DataDirectoryError, InvalidInput, NotFound
from ragstone.domain.spaces import Bm25Settings

FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_STATE = "index.json"


@dataclass(frozen=True, slots=True)
class IndexState:
    """The content of `index.json`: what is needed to open the shard. `optimised_points`: points it had when HNSW was last built."""

    dimension: int
    bm25: Bm25Settings
    generation: int = 1
    optimised_points: int = 0
    format: int = FORMAT


class IndexFiles:
    """The folder of one index."""

    def __init__(self, root: Path, index: str) -> None:
        self.root = root
        self._name = index
        self.folder = root / index

    def exists(self) -> bool:
        """Whether it was created and not dropped."""
        return _NAME.fullmatch(self._name) is not None and (self.folder / _STATE).is_file()

    def is_headless(self) -> bool:
        """Whether there is a folder that nothing describes."""
        return _NAME.fullmatch(self._name) is not None and self.folder.exists() and not self.exists()

    def read(self) -> IndexState:
        """The state on disk. Raises `NotFound`, or `DataDirectoryError` for another format."""
        if not self.exists():
            raise NotFound(f"There is no index {self._name!r}; create it first.", field="index")
        try:
            stored = json.loads((self.folder / _STATE).read_text())
            if stored["format"] != FORMAT:
                raise DataDirectoryError(f"The index has format {stored['format']}, this release reads {FORMAT}; use the newer release.")
            return IndexState(**{**stored, "bm25": Bm25Settings(**stored["bm25"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DataDirectoryError("The index's own description is damaged; restore the data directory from a backup.") from error

    def generation(self, number: int) -> Path:
        """The shard's folder."""
        return self.folder / f"g{number}"

    def new(self) -> Path:
        """An empty folder in which to make the index; `publish` it when it is whole. Raises `InvalidInput` for a name that is no folder's."""
        if not _NAME.fullmatch(self._name):
            raise InvalidInput(f"index: {self._name[:80]!r} is no name of an index; use letters, digits, '-' and '_'.", field="index")
        self.root.mkdir(parents=True, exist_ok=True)
        folder = self.root / f".new-{uuid.uuid4().hex}"
        (folder / "g1").mkdir(parents=True)
        return folder

    def publish(self, new: Path, state: IndexState) -> None:
        """Makes the folder `new`, with its shard in `g1`, the index."""
        (new / _STATE).write_text(json.dumps(asdict(state)))
        _sync_tree(new)
        new.rename(self.folder)
        sync(self.root)

    def write(self, state: IndexState) -> None:
        """Replaces the state; the generation that it names is durable before."""
        _sync_tree(self.generation(state.generation))
        temporary = self.folder / f".{_STATE}"
        temporary.write_text(json.dumps(asdict(state)))
        sync(temporary)
        temporary.rename(self.folder / _STATE)
        sync(self.folder)

    def size(self) -> int:
        """Bytes that its files take up on disk."""
        return allocated(self.folder)

    def remove_other_generations(self, state: IndexState) -> None:
        """Removes what an interrupted optimisation or a replaced generation left."""
        for folder in self.other_generations(state):
            shutil.rmtree(folder, ignore_errors=True)

    def other_generations(self, state: IndexState) -> list[Path]:
        """Folders of shards that do not count."""
        return [folder for folder in self.folder.glob("g*") if folder != self.generation(state.generation)]

    def rename(self, index: str) -> None:
        """Gives the index another name, which no other must have."""
        self.folder.rename(self.root / index)
        sync(self.root)

    def remove(self) -> None:
        """Removes the index at once as far as anyone can see, then its files."""
        if _NAME.fullmatch(self._name) and self.folder.is_dir():
            away = self.root / f".dropped-{uuid.uuid4().hex}"
            self.folder.rename(away)
            sync(self.root)
            shutil.rmtree(away, ignore_errors=True)


def describe_copy(folder: Path, state: IndexState) -> None:
    """Makes `folder`, with a copy of the shard in `g1`, an index."""
    (folder / _STATE).write_text(json.dumps(asdict(replace(state, generation=1))))


def index_names(root: Path) -> list[str]:
    """The indexes below `root`, damaged ones too."""
    return sorted(folder.name for folder in root.glob("*") if folder.is_dir() and _NAME.fullmatch(folder.name))


def remove_leftovers(root: Path) -> None:
    """Removes what a crash left of indexes being created or dropped."""
    for folder in (*root.glob(".new-*"), *root.glob(".dropped-*")):
        shutil.rmtree(folder, ignore_errors=True)


def sync(path: Path) -> None:
    """fsync of a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        sync(path)
