"""Which file of a model llama.cpp loads: GGUF and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ragstone.domain.errors import InvalidInput, NotFound

_MAGIC = b"GGUF"
_PICKLES = (b"PK\x03\x04", b"\x80")  # what torch.save writes: a zip file with a pickle, or a bare one


def gguf_file(model: Path) -> Path:
    """The file itself, or the only one in a directory. Of a model in several parts give the first. Raises `NotFound`, `InvalidInput` saying what is there instead."""
    if model.is_dir():
        found = sorted(model.glob("*.gguf"))
        if len(found) != 1:
            has = ", ".join(file.name for file in found) or "none"
            raise InvalidInput(
                f"The directory {model.name!r} must hold one .gguf file, or the file must be named; it has {has}.", field="model"
            )
        model = found[0]
    if not model.is_file():
        raise NotFound(f"There is no GGUF file or directory named {model.name!r}.", field="model")
    with model.open("rb") as file:
        begins = file.read(4)
    if begins.startswith(_PICKLES):
        raise InvalidInput(f"{model.name} holds pickled weights, which can run any code; convert it to GGUF.", field="model")
    if begins != _MAGIC:
        raise InvalidInput(f"{model.name} is not a GGUF file; llama.cpp loads nothing else.", field="model")
    return model


def checked_digest(model: Path, wanted: str | None) -> str:
    """SHA-256 of the file, in hexadecimal; about a second a gigabyte. Raises `InvalidInput` when it is not the one that is `wanted`."""
    with model.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if wanted is not None and found != wanted:
        raise InvalidInput(f"{model.name} has the SHA-256 {found}, not {wanted}, which is set; nothing is loaded.", field="model")
    return found
