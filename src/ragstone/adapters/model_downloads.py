"""Registered models on this machine: fetched by digest, every file compared before each use, and still there while the registry is not."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ragstone.adapters import codecs
from ragstone.adapters.durable_files import sync_directory, write_durably
from ragstone.adapters.model_files import file_digest
from ragstone.domain.errors import DataDirectoryError, Forbidden, InvalidInput, RagstoneError, StorageFull, TooLarge, Unavailable
from ragstone.domain.registered_models import LocalModel, ModelFile, ModelKind, ModelReference, ModelVersion
from ragstone.ports.model_registry import ModelRegistry

MAX_BYTES = 64 * 2**30
_log = logging.getLogger(__name__)

T = TypeVar("T")


class ModelDownloads:
    """Versions under `cache`, in a folder named by the digest of their content; several processes may share it.

    `max_bytes`: of one version. What was fetched before a crash is not fetched again: files come one by one into a folder of their own, which gets its
    name when all of them are there and compared.
    """

    def __init__(self, registry: ModelRegistry, cache: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._registry = registry
        self._cache = cache
        self._max_bytes = max_bytes

    async def local(self, reference: ModelReference, kind: ModelKind | None = None) -> LocalModel:
        """What a reference means now, here and compared; `kind` None: of any kind. While the registry does not answer, what it meant when it was asked last, said in the log.

        Raises `NotFound` (no such name, alias or version), `InvalidInput` (another kind; no files), `Forbidden` (a file is another one: it is named), `TooLarge`,
        `StorageFull`, and `Unavailable` when the registry does not answer and this machine has not seen the model.
        """
        version, as_last_seen = await self.meant(reference)
        return LocalModel(version, await self.path(version, kind), as_last_seen)

    async def meant(self, reference: ModelReference) -> tuple[ModelVersion, bool]:
        """The version, and whether it is the one seen last, as the registry does not answer, which is said in the log. Raises `NotFound`, `Unavailable`."""
        try:
            return await self.look(reference), False
        except Unavailable as error:
            seen = await self._run(self._seen, reference)
            if seen is None:
                raise Unavailable(
                    f"{reference}: the model registry does not answer, and this machine has not seen the model before.", field="model"
                ) from error
            _log.warning("%s: the model registry does not answer; %s is taken, as it was when it answered last", reference, seen.label)
            return seen, True

    async def look(self, reference: ModelReference) -> ModelVersion:
        """What a reference means now, noted for when the registry does not answer. Raises `NotFound`, `Unavailable`."""
        version = await self._registry.version(reference)
        with suppress(RagstoneError):  # a cache that was filled by somebody else may be one that can't be written
            await self._run(self._note, reference, version)
        return version

    async def path(self, version: ModelVersion, kind: ModelKind | None = None) -> Path:
        """What to load of a version, after every file was compared; fetched first where it is not here. Raises as `local`."""
        content = version.content
        if kind not in (None, content.kind):
            raise InvalidInput(
                f"{version.label} is of the kind {content.kind}, and here is room for one of the kind {kind}.", field="model"
            )
        if not content.files:
            raise InvalidInput(f"{version.label} has no files: it names a generator that runs elsewhere.", field="model")
        if content.size > self._max_bytes:
            raise TooLarge(f"{version.label} has {content.size:,} bytes; at most {self._max_bytes:,} are accepted.", field="model")
        home = self._home(version)
        wrong = await self._run(_wrong, home, version)
        if wrong is not None:
            async with self._alone(version):
                wrong = await self._run(_wrong, home, version)  # another process may have fetched it meanwhile
                if wrong is not None:
                    await self._fetch(version, home, wrong)
        return home / content.folder / content.entry

    async def _fetch(self, version: ModelVersion, home: Path, wrong: str) -> None:
        if await self._run(home.exists):
            _log.warning("%s of %s in the model cache is not the file that was registered; it is fetched again", wrong, version.label)
        draft = home.with_name(home.name + ".partial")
        try:
            for file in version.content.files:
                await self._fetch_file(version, file, draft / version.content.folder / file.path)
        except Unavailable as error:
            if await self._run(home.exists):
                raise Forbidden(
                    f"{wrong} of {version.label} in the model cache is not the file that was registered, and the model registry does not answer; it is not used.",
                    field="model",
                ) from error
            raise
        await self._run(_place, draft, home, version)

    async def _fetch_file(self, version: ModelVersion, file: ModelFile, target: Path) -> None:
        if await self._run(_is, target, file):
            return

        def ready() -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if shutil.disk_usage(target.parent).free < file.size:
                raise StorageFull(f"There is no room for {file.path} of {version.label} in the model cache.", field="model")

        def kept() -> bool:
            if not _is(target, file):
                target.unlink(missing_ok=True)
                return False
            with target.open("rb") as written:
                os.fsync(written.fileno())
            sync_directory(target.parent)
            return True

        await self._run(ready)
        await self._registry.fetch(version, file, target)
        if not await self._run(kept):
            raise Forbidden(f"{file.path} of {version.label} is not the file that was registered; the version is not used.", field="model")

    @asynccontextmanager
    async def _alone(self, version: ModelVersion) -> AsyncIterator[None]:
        lock = await self._run(self._open_lock, version)
        try:
            await self._run(fcntl.flock, lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _open_lock(self, version: ModelVersion) -> int:
        self._cache.mkdir(parents=True, exist_ok=True)
        return os.open(self._home(version).with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)

    def _home(self, version: ModelVersion) -> Path:
        return self._cache / version.content.digest

    def _seen(self, reference: ModelReference) -> ModelVersion | None:
        try:
            return codecs.MODEL_VERSION.load(self._note_of(reference).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def _note(self, reference: ModelReference, version: ModelVersion) -> None:
        if self._seen(reference) == version:
            return
        note = self._note_of(reference)
        note.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".note-", dir=note.parent) as scratch:
            write_durably(note, codecs.MODEL_VERSION.dump(version).encode(), Path(scratch) / "note")

    def _note_of(self, reference: ModelReference) -> Path:
        return self._cache / "seen" / f"{reference.name}@{reference.alias or reference.number}.json"

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("No space is left in the model cache.", field="model") from error
            raise DataDirectoryError(
                f"The model cache cannot be used ({error.strerror}); set RAGSTONE_MODELS to another directory."
            ) from error


def _wrong(home: Path, version: ModelVersion) -> str | None:
    """The first file that is missing, another one, or too many."""
    folder = home / version.content.folder
    different = (file.path for file in version.content.files if not _is(folder / file.path, file))
    return next(different, None) or next((path.name for path in _strangers(home, version)), None)


def _strangers(home: Path, version: ModelVersion) -> list[Path]:
    """What lies beside a version's files: a configuration file more could change what the others mean."""
    own = {home / version.content.folder / file.path for file in version.content.files}
    return [path for path in home.rglob("*") if path not in own and (path.is_symlink() or not path.is_dir())]


def _is(path: Path, file: ModelFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and file_digest(path) == file.sha256


def _place(draft: Path, home: Path, version: ModelVersion) -> None:
    """Renames the whole draft into its place; what was there was damaged."""
    for stranger in _strangers(draft, version):  # of a transfer that was cut short
        stranger.unlink()
    with tempfile.TemporaryDirectory(prefix=".damaged-", dir=home.parent) as damaged:
        if home.exists():
            home.rename(Path(damaged) / "model")
        draft.rename(home)
    sync_directory(home.parent)
