"""Which file of a model llama.cpp loads: GGUF and nothing else; and what can be known of it without loading it."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import BinaryIO

from ragstone.domain.errors import InvalidInput, NotFound

_MAGIC = b"GGUF"
_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of GGUF's types of values; 8 is a string, 9 an array
_UINT32, _STRING, _ARRAY = 4, 8, 9
_LONGEST_KEY = 2**16 - 1  # bytes, by GGUF's description
_FAR = 2**40  # beyond the end of any file
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
        raise NotFound(f"There is no GGUF file or directory {str(model)!r}.", field="model")
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


def trained_window(model: Path) -> int | None:
    """Tokens of context that a GGUF file says its model was trained for; None where it does not say, or ends too early.

    The layout is that of GGUF's versions 2 and 3, little-endian (ggml's docs/gguf.md): header, then keys, each with a type and a value.
    """
    with model.open("rb") as file:
        try:
            _, _, _, keys = struct.unpack("<4sIQQ", file.read(24))
            for _ in range(keys):
                key, kind = _key(file), _number(file, 4)
                if key.endswith(b".context_length") and kind == _UINT32:
                    return _number(file, 4)
                _skip(file, kind)
        except (struct.error, KeyError):
            return None
    return None


def _key(file: BinaryIO) -> bytes:
    length = _number(file, 8)
    if length > _LONGEST_KEY:
        raise struct.error
    return file.read(length)


def _number(file: BinaryIO, size: int) -> int:
    [number] = struct.unpack({4: "<I", 8: "<Q"}[size], file.read(size))
    return int(number)


def _skip(file: BinaryIO, kind: int, count: int = 1) -> None:
    """Values of a type. Raises `KeyError` for one that GGUF does not have, or an array of arrays, which nobody writes."""
    if kind == _ARRAY:
        kind, count = _number(file, 4), _number(file, 8)
    if kind != _STRING:
        file.seek(min(_BYTES[kind] * count, _FAR), 1)
        return
    for _ in range(count):
        file.seek(min(_number(file, 8), _FAR), 1)
