"""What there is to register of a model on disk: its files with their digests, and none that could run code when it is loaded."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ragstone.adapters.model_files import check_manifest, file_digest
from ragstone.domain.errors import InvalidInput, NotFound
from ragstone.domain.registered_models import MAX_FILES, ModelFile, ModelKind

_WEIGHTS = frozenset({".safetensors", ".gguf", ".onnx"})
_TENSORS = frozenset({".onnx_data", ".data"})  # of an ONNX file that keeps them beside it: numbers, nothing else
_OTHERS = frozenset({".json", ".txt", ".md", ".toml", ".yaml", ".yml", ".jinja", ".j2", ".model", ".vocab", ".merges", ""})
_PICKLED = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".h5", ".msgpack", ".npz"})
_PROTOCOLS = tuple(bytes((0x80, number)) for number in range(2, 6))  # how a pickle begins
_ARCHIVE = b"PK\x03\x04"  # PyTorch's files are archives with a pickle inside
_HEADER = 100 << 20  # bytes: the most that the safetensors format allows


class Content(NamedTuple):
    """`root` holds `files`; `entry` is what to open in it, empty for itself."""

    root: Path
    entry: str
    files: tuple[ModelFile, ...]


def read_content(path: Path, kind: ModelKind) -> Content:
    """A model directory, or a single file of one. Reads and hashes every file: call it outside the event loop.

    Raises `NotFound` when there is nothing, `InvalidInput` naming the file that is pickled, altered or missing against its ragstone-model.json, a link out of
    the directory, or of no known kind.
    """
    if not path.exists():
        raise NotFound(f"There is no directory or file {str(path)!r}.", field="model")
    check_manifest(path)
    root, entry, found = _places(path.resolve())
    files = tuple(_checked(root, file) for file in found)
    if len(files) > MAX_FILES:
        raise InvalidInput(f"The directory {root.name!r} has more than {MAX_FILES} files; name the model's own.", field="model")
    suffixes = {Path(file.path).suffix for file in files}
    if kind == "prompt" and (suffixes & (_WEIGHTS | _TENSORS) or ".toml" not in suffixes):
        raise InvalidInput("A prompt is a .toml file with the texts system and user.", field="model")
    if kind != "prompt" and not suffixes & _WEIGHTS:
        raise InvalidInput(f"{root.name!r} has no weights: no .safetensors, .gguf or .onnx file.", field="model")
    return Content(root, entry, files)


def _places(path: Path) -> tuple[Path, str, list[str]]:
    """Root, entry and relative paths of the files. An .onnx file brings the files beside it, as its tokenizer is there; others come alone."""
    if path.is_dir():
        return path, "", sorted(_files(path))
    if path.suffix != ".onnx":
        return path.parent, path.name, [path.name]
    root = path.parent if (path.parent / "tokenizer.json").is_file() else path.parent.parent
    return root, path.relative_to(root).as_posix(), sorted(_files(root))


def _files(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _checked(root: Path, name: str) -> ModelFile:
    path = root / name
    if not path.resolve().is_relative_to(root):
        raise InvalidInput(f"{name} is a link out of the model's directory; copy the file into it (cp -L).", field="model")
    if not path.is_file():
        raise InvalidInput(f"{name} is no ordinary file; take it away.", field="model")
    suffix = path.suffix.lower()
    if suffix in _PICKLED or _begins_like_a_pickle(path, suffix):
        raise InvalidInput(
            f"{name}: such files can run code when they are loaded; save the weights as safetensors, GGUF or ONNX and take this file away.",
            field="model",
        )
    if suffix not in _WEIGHTS | _TENSORS | _OTHERS:
        raise InvalidInput(f"{name} is of no kind that belongs to a model; take it away.", field="model")
    if suffix == ".safetensors":
        _check_safetensors(path, name)
    if suffix == ".gguf" and _beginning(path, 4) != b"GGUF":
        raise InvalidInput(f"{name} is not a GGUF file.", field="model")
    if suffix == ".toml":
        _check_prompt(path, name)
    return ModelFile(name, path.stat().st_size, file_digest(path))


def _begins_like_a_pickle(path: Path, suffix: str) -> bool:
    if suffix == ".safetensors" or suffix in _TENSORS:  # begin with numbers, which may be any
        return False
    return _beginning(path, 4).startswith((*_PROTOCOLS, _ARCHIVE))


def _check_safetensors(path: Path, name: str) -> None:
    """The header: 8 bytes of its length, little-endian, then that much JSON (huggingface.co/docs/safetensors, Format)."""
    length = int.from_bytes(_beginning(path, 8), "little")
    fits = 2 <= length <= _HEADER and 8 + length <= path.stat().st_size
    try:
        header = json.loads(_beginning(path, 8 + length)[8:]) if fits else None
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise InvalidInput(f"{name} is not a safetensors file.", field="model")


def _check_prompt(path: Path, name: str) -> None:
    try:
        texts = tomllib.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{name} is not valid TOML: {error}.", field="model") from error
    if not all(isinstance(texts.get(part), str) and texts[part].strip() for part in ("system", "user")):
        raise InvalidInput(f"{name}: a prompt needs the texts system and user.", field="model")


def _beginning(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)
