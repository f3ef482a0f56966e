"""A model's directory as vLLM may load it: safetensors, nothing pickled."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ragstone.domain.errors import InvalidInput, NotFound

_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def checked_directory(directory: Path, wanted: str | None = None) -> str:
    """The digest of its content: SHA-256, in hexadecimal, over the lines `<SHA-256 of a file>  <name>` in order of the names, subdirectories left out.

    Reads everything: a second or less a gigabyte, which the engine then finds in memory. Raises `NotFound`, and `InvalidInput` where there are no
    safetensors, or the digest is not the one that is `wanted`.
    """
    check_weights(directory)
    total = hashlib.sha256()
    for file in sorted(file for file in directory.iterdir() if file.is_file() and not file.name.startswith(".")):
        with file.open("rb") as opened:
            total.update(f"{hashlib.file_digest(opened, 'sha256').hexdigest()}  {file.name}\n".encode())
    found = total.hexdigest()
    if wanted is not None and found != wanted:
        raise InvalidInput(f"{directory.name} has the digest {found}, not {wanted}, which is set; nothing is loaded.", field="model")
    return found


def check_weights(directory: Path) -> None:
    """Raises `NotFound` where there is no directory, `InvalidInput` where it holds no safetensors, saying what it holds instead."""
    if not directory.is_dir():
        raise NotFound(f"There is no model directory {str(directory)!r}.", field="model")
    if any(directory.glob("*.safetensors")):
        return
    if any(file.suffix in _PICKLED for file in directory.iterdir()):
        raise InvalidInput(f"{directory.name} has pickled weights only, which can run any code; save them as safetensors.", field="model")
    raise InvalidInput(
        f"{directory.name} holds no .safetensors file; vLLM is given nothing else here (GGUF is for llama.cpp).", field="model"
    )
