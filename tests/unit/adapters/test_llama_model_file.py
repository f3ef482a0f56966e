"""What is read from a GGUF file's header."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ragstone.adapters.llama_model_file import trained_window
from tests.support.tiny_llama import write_tiny_llama

STRING, ARRAY, UINT32, FLOAT64 = 8, 9, 4, 12


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def write(path: Path, *values: bytes, more: int = 0) -> Path:
    """A header with these keys, and `more` that are not there."""
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(values) + more) + b"".join(values))
    return path


WORDS = text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", ARRAY, STRING, 3) + text(b"a") + text(b"") + text(b"bc")
NUMBERS = text(b"tokenizer.ggml.scores") + struct.pack("<IIQ", ARRAY, FLOAT64, 2) + bytes(16)
NAME = text(b"general.name") + struct.pack("<I", STRING) + text(b"x.context_length")
WINDOW = text(b"qwen3.context_length") + struct.pack("<II", UINT32, 40_960)


def test_the_window_is_read_wherever_it_stands(tmp_path: Path) -> None:
    assert trained_window(write_tiny_llama(tmp_path / "a.gguf", trained=2_048)) == 2_048
    assert trained_window(write(tmp_path / "b.gguf", WORDS, NUMBERS, NAME, WINDOW)) == 40_960


@pytest.mark.parametrize(
    "values",
    [
        (),
        (WORDS, NUMBERS, NAME),
        (WINDOW[:-1],),
        (text(b"k") + struct.pack("<I", 99), WINDOW),  # a type that there is not
        (text(b"k") + struct.pack("<IIQ", ARRAY, ARRAY, 1), WINDOW),
        (struct.pack("<Q", 2**63), WINDOW),  # a key of eight exabytes
        (text(b"k") + struct.pack("<IIQ", ARRAY, STRING, 2**63) + struct.pack("<Q", 2**63), WINDOW),
        (text(b"k") + struct.pack("<IIQ", ARRAY, FLOAT64, 2**63), WINDOW),
    ],
)
def test_a_header_that_does_not_say_it_or_ends_too_early_says_nothing(values: tuple[bytes, ...], tmp_path: Path) -> None:
    assert trained_window(write(tmp_path / "a.gguf", *values, more=1)) is None
