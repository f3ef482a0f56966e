"""Registered models: what a version holds, and how one is named (`models:/<name>@<alias>`, `models:/<name>/<version>`)."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from ragstone.domain.errors import InvalidInput
from ragstone.domain.names import check_alias_name
from ragstone.domain.spaces import ModelIdentity

ModelKind = Literal["embedder", "reranker", "prompt", "generator"]
KINDS: tuple[ModelKind, ...] = get_args(ModelKind)
SCHEME = "models:/"
MAX_FILES = 500
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ +-]*(/[A-Za-z0-9_][A-Za-z0-9._ +-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RELEASES = "ragstone."  # begins the names under which a registry keeps collections' releases


@dataclass(frozen=True, slots=True)
class ModelFile:
    """`path`: relative, '/'-separated. `size` in bytes, `sha256` in hexadecimal. Raises `InvalidInput` for a path that could leave its folder."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path) or len(self.path) > 500 or not _SHA256.fullmatch(self.sha256) or self.size < 0:
            raise InvalidInput(
                f"model: {self.path[:100]!r} is not the name of a model's file; use letters, digits, '.', '_', '+', '-' and '/'.",
                field="model",
            )


@dataclass(frozen=True, slots=True)
class GeneratorReference:
    """A generator that runs elsewhere: its address, its name there, and which revision of it is meant."""

    base_url: str
    model: str
    revision: str


@dataclass(frozen=True, slots=True)
class ModelContent:
    """What a version is made of; two with the same `digest` are the same.

    `folder`: the name of the directory that holds `files`; an embedder or reranker without a name of its own is called so. `entry`: what to open in it,
    empty for the directory itself. `identity`: of an embedder. `reference`: of a generator that runs elsewhere, which has no files.
    """

    kind: ModelKind
    licence: str
    folder: str = ""
    entry: str = ""
    files: tuple[ModelFile, ...] = ()
    identity: ModelIdentity | None = None
    reference: GeneratorReference | None = None

    def __post_init__(self) -> None:
        if not self.licence.strip():
            raise InvalidInput("licence: say under which licence the model may be used (an SPDX name where there is one).", field="licence")
        for path in (self.folder, self.entry):
            if path and not _PATH.fullmatch(path):
                raise InvalidInput(f"model: {path[:100]!r} cannot be the name of a model's folder; rename it.", field="model")
        if "/" in self.folder or bool(self.files) != bool(self.folder):
            raise InvalidInput("model: files need the name of one folder that holds them.", field="model")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of all fields, files in order of path."""
        form = asdict(self) | {"files": sorted((asdict(file) for file in self.files), key=lambda file: str(file["path"]))}
        return hashlib.sha256(json.dumps(form, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version as the registry keeps it: `number` counts a name's from 1, `principal` registered it at `created_at` (Unix seconds)."""

    name: str
    number: int
    content: ModelContent
    principal: str
    created_at: float
    aliases: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How it is asked for, whatever its aliases do."""
        return f"{SCHEME}{self.name}/{self.number}"


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A name with an alias or with a number."""

    name: str
    alias: str | None = None
    number: int | None = None

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}@{self.alias}" if self.alias is not None else f"{SCHEME}{self.name}/{self.number}"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A version whose files were compared with their digests on this machine. `path`: what to load. `as_last_seen`: the registry did not answer."""

    version: ModelVersion
    path: Path
    as_last_seen: bool = False


def is_reference(text: str) -> bool:
    """Whether a setting means a registered model."""
    return text.startswith(SCHEME)


def parse_reference(text: str, field: str = "model") -> ModelReference:
    """What `models:/<name>@<alias>` or `models:/<name>/<version>` means. Raises `InvalidInput`."""
    name, at, alias = text.removeprefix(SCHEME).partition("@")
    if is_reference(text) and at:
        return ModelReference(check_model_name(name, field), alias=check_alias_name(alias, field))
    name, _, number = name.partition("/")
    if not is_reference(text) or at or not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise InvalidInput(
            f"{field}: {text[:100]!r} is no registered model; write models:/<name>@<alias> or models:/<name>/<version>.", field=field
        )
    return ModelReference(check_model_name(name, field), number=int(number))


def check_model_name(name: str, field: str = "name") -> str:
    """Returns `name`: 1 to 100 characters of a-z, 0-9, '.', '_' and '-'; those that begin with `ragstone.` belong to releases."""
    if not _NAME.fullmatch(name) or name.startswith(_RELEASES):
        raise InvalidInput(
            f"{field}: {name[:80]!r} is not a model's name; use a-z, 0-9, '.', '_' and '-', beginning with a letter or digit, and not 'ragstone.'.",
            field=field,
        )
    return name
