"""Model registry in a directory: a folder a name, in it a folder a version; several processes may share it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ragstone.adapters import codecs
from ragstone.adapters.durable_files import sync_directory, write_durably
from ragstone.domain.errors import Conflict, DataDirectoryError, Forbidden, InvalidInput, NotFound, RagstoneError, StorageFull
from ragstone.domain.names import check_alias_name
from ragstone.domain.registered_models import ModelContent, ModelFile, ModelReference, ModelVersion, check_model_name

_RECORD, _FILES, _ALIASES, _NEW = "version.json", "files", "aliases.json", ".new"
_BLOCK = 1 << 20  # bytes

T = TypeVar("T")


class DirectoryModelRegistry:
    """Implements `ModelRegistry`. Versions are never changed; a new one is renamed into its place under the name's lock, as is the table of aliases."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._clock = clock

    async def register(self, name: str, content: ModelContent, folder: Path | None, principal: str) -> ModelVersion:
        return await self._run(self._register, check_model_name(name), content, folder, principal)

    async def version(self, reference: ModelReference) -> ModelVersion:
        return await self._run(self._version, reference)

    async def versions(self, name: str, *, limit: int = 50) -> list[ModelVersion]:
        def work() -> list[ModelVersion]:
            return [self._read(name, number) for number in sorted(self._numbers(name), reverse=True)[:limit]]

        return await self._run(work)

    async def move_alias(self, name: str, alias: str, number: int, *, expected: int | None = None) -> ModelVersion:
        check_alias_name(alias)

        def work() -> ModelVersion:
            self._version(ModelReference(name, number=number))
            with self._alone(name) as folder:
                points_at = self._aliases(name)
                check_expected(name, alias, points_at.get(alias, 0), expected)
                self._write_aliases(folder, points_at | {alias: number})
            return self._read(name, number)

        return await self._run(work)

    async def drop_alias(self, name: str, alias: str) -> None:
        def work() -> None:
            if alias in self._aliases(name):
                with self._alone(name) as folder:
                    self._write_aliases(folder, {each: number for each, number in self._aliases(name).items() if each != alias})

        await self._run(work)

    async def fetch(self, version: ModelVersion, file: ModelFile, target: Path) -> None:
        source = self._folder(version.name) / str(version.number) / _FILES / file.path

        def work() -> None:
            try:
                if source.stat().st_size > file.size:
                    raise too_large(version, file)
                shutil.copyfile(source, target)
            except FileNotFoundError:
                raise file_gone(version, file) from None

        await self._run(work)

    async def close(self) -> None:
        """Holds nothing open."""

    def _register(self, name: str, content: ModelContent, folder: Path | None, principal: str) -> ModelVersion:
        with self._alone(name) as home:
            numbers = sorted(self._numbers(name))
            for number in numbers:
                if (known := self._read(name, number)).content.digest == content.digest:
                    return known
            shutil.rmtree(home / _NEW, ignore_errors=True)  # of a process that was killed
            made = ModelVersion(name, numbers[-1] + 1 if numbers else 1, content, principal, self._clock())
            try:
                (home / _NEW).mkdir()
                for file in content.files:
                    if folder is None:
                        raise InvalidInput("model: its files are not said to be anywhere.", field="model")
                    copy_checked(folder / file.path, home / _NEW / _FILES / file.path, file)
                write_durably(home / _NEW / _RECORD, codecs.MODEL_VERSION.dump(made).encode(), home / _NEW / ".record")
                sync_directory(home / _NEW)
                (home / _NEW).rename(home / str(made.number))
            except BaseException:
                shutil.rmtree(home / _NEW, ignore_errors=True)
                raise
            sync_directory(home)
            return made

    def _version(self, reference: ModelReference) -> ModelVersion:
        name, number = reference.name, reference.number
        numbers = self._numbers(name)
        if not numbers:
            raise no_model(name)
        if reference.alias is not None:
            number = self._aliases(name).get(reference.alias)
            if number is None:
                raise no_alias(name, reference.alias)
        if number not in numbers:
            raise no_version(name, number)
        return self._read(name, number)

    def _read(self, name: str, number: int) -> ModelVersion:
        try:
            found = codecs.MODEL_VERSION.load((self._folder(name) / str(number) / _RECORD).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise DataDirectoryError(f"The record of version {number} of the model {name} is damaged; register the model again.") from error
        return replace(found, aliases=tuple(sorted(alias for alias, at in self._aliases(name).items() if at == number)))

    def _numbers(self, name: str) -> set[int]:
        folder = self._folder(name)
        return {int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()} if folder.is_dir() else set()

    def _aliases(self, name: str) -> dict[str, int]:
        try:
            found = json.loads((self._folder(name) / _ALIASES).read_bytes())
            return {str(alias): int(number) for alias, number in found.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, TypeError) as error:
            raise DataDirectoryError(f"The aliases of the model {name} are damaged; remove their file and set them again.") from error

    def _write_aliases(self, folder: Path, aliases: dict[str, int]) -> None:
        draft = folder / ".aliases"
        draft.unlink(missing_ok=True)  # of a process that was killed
        write_durably(folder / _ALIASES, json.dumps(aliases, sort_keys=True).encode(), draft)
        sync_directory(folder)

    def _folder(self, name: str) -> Path:
        return self._root / check_model_name(name)

    @contextmanager
    def _alone(self, name: str) -> Iterator[Path]:
        folder = self._folder(name)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(lock)

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.to_thread(work, *arguments)
        except RagstoneError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("No space is left for the model registry; nothing was registered.") from error
            raise DataDirectoryError(f"The model registry cannot be used ({error.strerror}); check the data directory's rights.") from error


def copy_checked(source: Path, target: Path, file: ModelFile) -> None:
    """Copies a file durably, and compares what was written. Raises `InvalidInput` when it is not the one that `file` says, or can't be read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    try:
        with source.open("rb") as read, target.open("xb") as written:
            while block := read.read(_BLOCK):
                digest.update(block)
                written.write(block)
            written.flush()
            os.fsync(written.fileno())
    except FileNotFoundError:
        raise changed_meanwhile(file) from None
    sync_directory(target.parent)
    if digest.hexdigest() != file.sha256:
        raise changed_meanwhile(file)


def changed_meanwhile(file: ModelFile) -> InvalidInput:
    """The error of a file that was read before and is another one now."""
    return InvalidInput(f"model: {file.path} changed while the model was registered; nothing was registered, try again.", field="model")


def check_expected(name: str, alias: str, found: int, expected: int | None) -> None:
    """Raises `Conflict` unless an alias points where it should (0: nowhere; `expected` None: anywhere)."""
    if expected is not None and found != expected:
        where = f"version {found}" if found else "no version"
        raise Conflict(f"alias: {alias} of {name} points at {where} now; look at that before you move it.", field="expected")


def no_model(name: str) -> NotFound:
    """The error of a name that is not used."""
    return NotFound(f"model: there is no registered model {name!r}; `ragstone models register` makes one.", field="model")


def no_alias(name: str, alias: str) -> NotFound:
    """The error of an alias that is not set."""
    return NotFound(f"model: {name} has no alias {alias!r}; `ragstone models versions {name}` lists what there is.", field="model")


def no_version(name: str, number: int | None) -> NotFound:
    """The error of a number that was not given."""
    return NotFound(f"model: {name} has no version {number}; `ragstone models versions {name}` lists what there is.", field="model")


def file_gone(version: ModelVersion, file: ModelFile) -> NotFound:
    """The error of a file that the registry lists and lacks."""
    return NotFound(f"model: the registry has lost {file.path} of {version.label}; register the model again.", field="model")


def too_large(version: ModelVersion, file: ModelFile) -> Forbidden:
    """The error of a file that can't be the registered one."""
    return Forbidden(f"model: {file.path} of {version.label} is larger than the file that was registered; it is not used.", field="model")
