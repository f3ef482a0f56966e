"""Durable reading and writing of Git objects in one bare repository: few as loose files, many as one pack."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID, ShaFile
from dulwich.pack import Pack, full_unpacked_object, write_pack_data, write_pack_index

from ragstone.adapters.durable_files import sync_directory, write_durably

_LOOSE_AT_MOST = 64  # objects of one write; beyond, one pack costs fewer fsyncs
_PACKS_AT_MOST = 32  # beyond, the smaller half is merged: every look-up may have to ask every pack
_COMPRESSION = 1  # zlib level: text shrinks nearly as well as at 6, twice as fast


class GitObjects:
    """The objects of one repository. Thread-safe; dulwich's packs are not, so reads take turns.

    Written objects survive power loss when `write` returns. `read` raises `KeyError` for an unknown id.
    """

    def __init__(self, store: DiskObjectStore) -> None:
        self._store = store
        self._directory = Path(os.fsdecode(store.path))
        self._lock = threading.Lock()
        self._merging = threading.Lock()

    def read(self, object_id: bytes) -> tuple[int, bytes]:
        """The object's type number (1 commit, 2 tree, 3 blob) and its bytes."""
        with self._lock:
            return self._store.get_raw(ObjectID(object_id))

    def write(self, objects: Sequence[ShaFile]) -> None:
        """Stores objects, each once."""
        distinct = list({each.id: each for each in objects}.values())
        if len(distinct) > _LOOSE_AT_MOST:
            self._write_pack(iter(distinct), len(distinct))
            return
        for each in distinct:
            self._write_file(each)
        for directory in sorted({self._directory / each.id[:2].decode() for each in distinct}):
            sync_directory(directory)
        sync_directory(self._directory)

    @property
    def crowded(self) -> bool:
        """Whether there are so many packs that `merge_packs` is due."""
        return len(list((self._directory / "pack").glob("*.idx"))) > _PACKS_AT_MOST

    def merge_packs(self) -> None:
        """Puts the smaller half of the packs into one. Readers and writers go on meanwhile."""
        if not self._merging.acquire(blocking=False):
            return
        try:
            files = sorted((self._directory / "pack").glob("*.pack"), key=lambda file: file.stat().st_size)
            small = [file for file in files[: len(files) // 2 + 1] if file.with_suffix(".idx").exists()]
            if len(small) < 2:
                return
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

    def close(self) -> None:
        """Closes the packs."""
        with self._lock:
            self._store.close()

    def _write_file(self, each: ShaFile) -> None:
        # Not dulwich's add_object: when the disk is full it leaves its lock behind, and the object could never be written again.
        name = each.id.decode()
        target = self._directory / name[:2] / name[2:]
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            write_durably(target, each.as_legacy_object(_COMPRESSION), target.with_name(f"tmp_obj_{uuid4().hex}"))

    def _write_pack(self, objects: Iterator[ShaFile], count: int) -> None:
        directory = self._directory / "pack"
        name = f"pack-{uuid4().hex}"
        temporary = directory / f"tmp_{name}.pack", directory / f"tmp_{name}.idx"
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


def sweep(repository: Path) -> None:
    """Removes what a killed process left: lock files and half-written packs. Only the directory's one owner may call it."""
    for file in [*repository.glob("*.lock"), *repository.glob("refs/**/*.lock"), *repository.glob("objects/??/tmp_obj_*")]:
        file.unlink(missing_ok=True)
    packs = repository / "objects" / "pack"
    for file in packs.glob("tmp*"):
        file.unlink(missing_ok=True)
    for file in packs.glob("pack-*"):
        if not (file.with_suffix(".idx").exists() and file.with_suffix(".pack").exists()):
            file.unlink(missing_ok=True)
