"""Stage of bulk work in plain files, which worker processes of one machine share: `<directory>/<run>/<shard>-<part>-<texts>.json`, then `.npy`."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import numpy as np
from pydantic import TypeAdapter

from ragstone.adapters.durable_files import sync_directory, write_durably
from ragstone.domain.bulk import BulkPart, BulkRun, PartVectors
from ragstone.domain.errors import InternalError, NotFound, StorageFull, Unavailable
from ragstone.domain.retrieval import Vectors

T = TypeVar("T")
_RUN = TypeAdapter(BulkRun)
_ABOUT = "run.json"
_HASH = 64  # bytes of a content hash


class FileBulkStage:
    """Implements `BulkStage`. The directory is made when something is ordered, for the owner alone; what begins with a dot in it is being written or deleted.

    Vectors are fsynced, so that none is half there; texts and names are not: what a power failure takes is ordered and embedded again.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._waiting: dict[tuple[str, int, str], int] = {}  # numbers of texts, which are in the names of files

    async def order(self, run: BulkRun, parts: Sequence[BulkPart]) -> None:
        await self._do(lambda: self._order(run, parts))

    async def run(self, run_id: str) -> BulkRun:
        return await self._do(lambda: self._run(run_id))

    async def runs(self) -> list[str]:
        return await self._do(lambda: sorted(path.parent.name for path in self._directory.glob(f"[!.]*/{_ABOUT}")))

    async def waiting(self, run_id: str, shard: int) -> list[str]:
        def work() -> list[str]:
            self._waiting = {(run_id, shard, part): texts for own, part, texts in self._files(run_id, "json") if own == shard}
            return [part for _, _, part in self._waiting]

        return await self._do(work)

    async def part(self, run_id: str, shard: int, part_id: str) -> BulkPart:
        def work() -> BulkPart:
            texts = self._waiting.get((run_id, shard, part_id), "*")  # "*" looks through all files
            for path in self._of(run_id).glob(f"{shard:05}-{_name(part_id)}-{texts}.json"):
                with suppress(FileNotFoundError):
                    return BulkPart(shard, json.loads(path.read_bytes()))
            raise NotFound(f"no part {part_id[:64]!r} of shard {shard} waits.")

        return await self._do(work)

    async def put(self, run_id: str, part: BulkPart, vectors: Vectors) -> None:
        await self._do(lambda: self._put(self._of(run_id), part, vectors))

    async def vectors(self, run_id: str, without: Collection[str] = ()) -> list[PartVectors]:
        def work() -> list[PartVectors]:
            found = []
            for shard, part, texts in self._files(run_id, "npy"):
                if part not in without:
                    rows = np.load(self._of(run_id) / f"{shard:05}-{part}-{texts}.npy", allow_pickle=False)
                    found.append(PartVectors(part, [hashed.decode() for hashed in rows["hash"].tolist()], rows["vector"]))
            return found

        return await self._do(work)

    async def progress(self, run_id: str) -> list[tuple[int, int]]:
        def work() -> list[tuple[int, int]]:
            try:
                counts = [[0, 0] for _ in range(self._run(run_id).shards)]
            except NotFound:
                return []
            for kind, done in (("npy", 1), ("json", 0)):
                for shard, _, texts in self._files(run_id, kind):
                    if shard < len(counts):  # there were more of them once
                        counts[shard][0] += done * texts
                        counts[shard][1] += texts
            return [(done, total) for done, total in counts]

        return await self._do(work)

    async def discard(self, run_id: str) -> None:
        def work() -> None:
            doomed = self._directory / f".{uuid4().hex}"
            with suppress(FileNotFoundError):
                self._of(run_id).rename(doomed)  # all of it is gone at once
            for remains in self._directory.glob(".*"):
                shutil.rmtree(remains, ignore_errors=True)

        await self._do(work)

    def _order(self, run: BulkRun, parts: Sequence[BulkPart]) -> None:
        directory = self._of(run.id)
        with suppress(NotFound):
            if self._run(run.id).model != run.model:
                shutil.rmtree(directory)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        wanted = {_file(part): part for part in parts}
        for path in directory.glob("[!.]*.json"):
            if path.name != _ABOUT and path.stem not in wanted:
                path.unlink(missing_ok=True)
        for name, part in wanted.items():
            if not (directory / f"{name}.npy").exists():
                _write(directory / f"{name}.json", json.dumps(dict(part.texts)).encode())
        write_durably(directory / _ABOUT, json.dumps(asdict(run)).encode(), directory / f".{uuid4().hex}")
        sync_directory(directory)
        sync_directory(self._directory)

    def _run(self, run_id: str) -> BulkRun:
        try:
            return _RUN.validate_json((self._of(run_id) / _ABOUT).read_bytes())
        except FileNotFoundError:
            raise NotFound(f"there is no bulk work {run_id[:80]!r}.") from None

    def _put(self, directory: Path, part: BulkPart, vectors: Vectors) -> None:
        content = io.BytesIO()
        rows = np.empty(len(part.texts), [("hash", f"S{_HASH}"), ("vector", np.float32, vectors.shape[1:])])
        rows["hash"], rows["vector"] = list(part.texts), vectors
        np.save(content, rows)
        name = _file(part)
        try:
            write_durably(directory / f"{name}.npy", content.getvalue(), directory / f".{uuid4().hex}")
        except FileNotFoundError:
            raise NotFound("the bulk work is over.") from None
        (directory / f"{name}.json").unlink(missing_ok=True)

    def _files(self, run_id: str, kind: str) -> list[tuple[int, str, int]]:
        """Shard, part and number of texts, in order. A part whose texts were not deleted any more counts as done."""
        done = {path.stem for path in self._of(run_id).glob("[!.]*.npy")}
        names = done if kind == "npy" else {path.stem for path in self._of(run_id).glob("[!.]*.json") if path.name != _ABOUT} - done
        return sorted((int(shard), part, int(texts)) for shard, part, texts in (name.split("-") for name in names))

    def _of(self, run_id: str) -> Path:
        return self._directory / _name(run_id)

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("no space is left for bulk work; free some and try again.") from error
            raise Unavailable(f"the stage of bulk work cannot be read or written ({error.strerror or 'input/output error'}).") from error


def _file(part: BulkPart) -> str:
    return f"{part.shard:05}-{part.id}-{len(part.texts)}"


def _write(target: Path, content: bytes) -> None:
    temporary = target.parent / f".{uuid4().hex}"
    temporary.write_bytes(content)
    temporary.rename(target)


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name):
        raise InternalError(f"{name[:80]!r} is neither bulk work nor a part of it.")
    return name
