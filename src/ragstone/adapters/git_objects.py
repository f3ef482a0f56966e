"""Durable reading and writing of Git objects in one bare repository: each write is one pack, and packs are merged now and then (ADR 0004).

Dropping files is all or nothing: which ones is written down first, and finished when the repository is next opened (ADR 0010).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID, ShaFile, sha_to_hex
from dulwich.pack import Pack, full_unpacked_object, write_pack_data, write_pack_index

from ragstone.adapters.durable_files import sync_directory, write_durably
from ragstone.domain.errors import DataDirectoryError

_PACKS_AT_MOST = 16  # beyond, small ones are merged: a look-up may have to ask every pack
_GROWTH = 2  # a pack is left alone if it is larger than this many times all smaller ones: each object is rewritten O(log n) times
_COMPRESSION = 1  # zlib level: text shrinks nearly as well as at 6, twice as fast


_DOOMED = "info/ragstone-doomed"  # files about to be removed, a line each, relative to the directory of objects
_PACK_ENDS, _INDEX_ENDS, _INDEX_ENTRY = 32, 1072, 28  # bytes of header and trailer; of each object in the index


@dataclass(frozen=True, slots=True)
class Measured:
    """Some objects of a repository: bytes that they would take alone in one pack, and whether there are others."""

    size: int
    others: bool


class GitObjects:
    """The objects of one repository. Thread-safe; dulwich's packs are not, so reads take turns.

    Written objects survive power loss when `write` returns. `read` raises `KeyError` for an unknown id
    and `DataDirectoryError` for a broken object.
    """

    def __init__(self, store: DiskObjectStore) -> None:
        self._store = store
        self._directory = Path(os.fsdecode(store.path))
        self._lock = threading.Lock()
        self._merging = threading.Lock()

    def read(self, object_id: bytes) -> tuple[int, bytes]:
        """The object's type number (1 commit, 2 tree, 3 blob) and its bytes."""
        with self._lock:
            try:
                return self._store.get_raw(ObjectID(object_id))
            except (KeyError, OSError):
                raise
            except Exception as error:  # dulwich meets a broken pack with AssertionError, TypeError, ValueError, zlib.error and its own
                cause = type(error).__name__
        # Raised out here, so that it holds no frame of dulwich's: they point into the mapped pack, which then could not be closed.
        raise DataDirectoryError(f"the version store is damaged: an object is broken ({cause}); restore it from a backup.")

    def hold(self, object_id: bytes) -> bool:
        """Whether the object is there."""
        with self._lock:
            return ObjectID(object_id) in self._store

    def write(self, objects: Sequence[ShaFile]) -> None:
        """Stores objects, each once."""
        distinct = {each.id: each for each in objects}
        self._write_pack(iter(distinct.values()), len(distinct))

    @property
    def crowded(self) -> bool:
        """Whether there are so many packs that `merge_packs` is due."""
        return len(list((self._directory / "pack").glob("*.idx"))) > _PACKS_AT_MOST

    def merge_packs(self) -> None:
        """Puts the small packs into one. Readers and writers go on meanwhile."""
        if not self._merging.acquire(blocking=False):
            return
        try:
            small = self._small_packs()
            packs = [Pack(str(file.with_suffix("")), object_format=DEFAULT_OBJECT_FORMAT) for file in small]
            try:
                wanted = {object_id: pack for pack in packs for object_id in pack}
                self._write_pack((pack[object_id] for object_id, pack in wanted.items()), len(wanted))
            finally:
                for pack in packs:
                    pack.close()
            with self._lock:
                for file in small:
                    file.with_suffix(".idx").unlink()
                    file.unlink()
                _ = self._store.packs  # looks at the directory again and closes what is gone
        finally:
            self._merging.release()

    @contextmanager
    def settled(self) -> Iterator[None]:
        """No packs are merged meanwhile."""
        with self._merging:
            yield

    def files(self) -> dict[Path, int]:
        """Every file that holds objects or helps to find them, with its size in bytes."""
        packs = [file for file in (self._directory / "pack").iterdir() if not file.name.startswith("tmp")]
        return {file: file.stat().st_size for file in [*packs, *self._loose()]}

    def own(self, file: Path) -> bool:
        """Whether a file belongs to a pack that was written here, and not by Git."""
        return re.fullmatch(r"pack-[0-9a-f]{32}", file.stem) is not None

    def measure(self, wanted: Collection[bytes]) -> Measured:
        """See `Measured`; of objects that Git packed as differences, about."""
        counted: set[bytes] = set()
        size = _PACK_ENDS + _INDEX_ENDS
        others = False
        for index in sorted((self._directory / "pack").glob("*.idx")):
            pack = Pack(str(index.with_suffix("")), object_format=DEFAULT_OBJECT_FORMAT)
            try:
                entries = sorted((offset, sha_to_hex(name)) for name, offset, _ in pack.index.iterentries())
            finally:
                pack.close()
            ends = [*(offset for offset, _ in entries[1:]), index.with_suffix(".pack").stat().st_size - _PACK_ENDS // 2]
            for (offset, object_id), end in zip(entries, ends, strict=True):
                others = others or object_id not in wanted
                if object_id in wanted and object_id not in counted:
                    counted.add(object_id)
                    size += end - offset + _INDEX_ENTRY
        for file in self._loose():
            object_id = ObjectID((file.parent.name + file.name).encode())
            others = others or object_id not in wanted
            if object_id in wanted and object_id not in counted:
                size += file.stat().st_size + _INDEX_ENTRY
        return Measured(size if counted else 0, others)

    def copy(self, wanted: Collection[bytes]) -> Path | None:
        """Writes a pack of these objects, one by one in memory; its path without suffix, None for no objects. Raises `KeyError`."""
        return self._write_pack((self._object(object_id) for object_id in sorted(wanted)), len(wanted)) if wanted else None

    def drop(self, files: Sequence[Path]) -> None:
        """Removes files of packs and loose objects: all of them, also if the process ends meanwhile."""
        marker = self._directory / _DOOMED
        marker.parent.mkdir(exist_ok=True)
        names = "".join(f"{file.relative_to(self._directory)}\n" for file in files)
        write_durably(marker, names.encode(), marker.with_suffix(".new"))
        sync_directory(marker.parent)
        with self._lock:
            _finish_dropping(self._directory)
            _ = self._store.packs

    def _object(self, object_id: bytes) -> ShaFile:
        kind, raw = self.read(object_id)
        return ShaFile.from_raw_string(kind, raw, sha=ObjectID(object_id))

    def _loose(self) -> list[Path]:
        return [file for file in self._directory.glob("??/*") if re.fullmatch("[0-9a-f]{38}", file.name)]

    def close(self) -> None:
        """Closes the packs."""
        with self._lock:
            self._store.close()

    def _small_packs(self) -> list[Path]:
        small: list[Path] = []
        total = 0
        for index in sorted((self._directory / "pack").glob("pack-*.idx"), key=lambda path: path.stat().st_size):
            size = index.stat().st_size
            if len(small) > 1 and size > _GROWTH * total:
                break
            small.append(index.with_suffix(".pack"))
            total += size
        return small

    def _write_pack(self, objects: Iterator[ShaFile], count: int) -> Path:
        directory = self._directory / "pack"
        unique = uuid4().hex
        name = f"pack-{unique}"
        temporary = (
            directory / f"tmp_pack_{unique}",
            directory / f"tmp_idx_{unique}",
        )  # no suffix: dulwich opens whatever ends in .pack and .idx
        try:
            with temporary[0].open("wb") as file:
                offsets, digest = write_pack_data(
                    file.write,
                    (full_unpacked_object(each) for each in objects),
                    object_format=DEFAULT_OBJECT_FORMAT,
                    num_records=count,
                    compression_level=_COMPRESSION,
                )
                file.flush()
                os.fsync(file.fileno())
            with temporary[1].open("wb") as file:
                write_pack_index(file, sorted((object_id, *place) for object_id, place in offsets.items()), digest)
                file.flush()
                os.fsync(file.fileno())
            temporary[0].rename(directory / f"{name}.pack")
            temporary[1].rename(directory / f"{name}.idx")  # last: a pack counts once its index is there
        except BaseException:
            for path in temporary:
                path.unlink(missing_ok=True)
            raise
        sync_directory(directory)
        return directory / name


def sweep(repository: Path) -> None:
    """Removes what a killed process left: lock files, half-written packs, files being dropped. Only the directory's one owner may call it."""
    _finish_dropping(repository / "objects")
    for file in [*repository.glob("*.lock"), *repository.glob("refs/**/*.lock"), *repository.glob("objects/??/tmp*")]:
        file.unlink(missing_ok=True)
    packs = repository / "objects" / "pack"
    for file in packs.glob("tmp*"):
        file.unlink(missing_ok=True)
    for file in packs.glob("pack-*"):
        if not (file.with_suffix(".idx").exists() and file.with_suffix(".pack").exists()):
            file.unlink(missing_ok=True)


def _finish_dropping(directory: Path) -> None:
    """Removes the files that were written down, in no order that matters, and then that list."""
    marker = directory / _DOOMED
    marker.with_suffix(".new").unlink(missing_ok=True)
    if not marker.exists():
        return
    for name in marker.read_text().splitlines():
        if re.fullmatch(r"(pack|[0-9a-f]{2})/[A-Za-z0-9.-]+", name):
            (directory / name).unlink(missing_ok=True)
    sync_directory(directory / "pack")
    marker.unlink()
    sync_directory(marker.parent)
