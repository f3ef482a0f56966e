"""Identifiers made by ragstone: sortable by time, unguessable."""

from __future__ import annotations

import secrets
import time
import uuid

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_NAMESPACE = uuid.UUID("6f0c0f5e-3b9b-5a39-9f0e-7261677374e0")  # of ragstone's chunk ids; changing it changes every id


def new_id() -> str:
    """26 characters: 48 bits of Unix milliseconds, then 80 random bits (the layout of a ULID, in lower case)."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])


def made_at(id_: str) -> float | None:
    """When `new_id` made it, in Unix seconds; None for what it did not make."""
    if len(id_) != 26 or not set(id_) <= set(_ALPHABET):
        return None
    value = 0
    for letter in id_:
        value = value << 5 | _ALPHABET.index(letter)
    return (value >> 80) / 1000


def chunk_id(path: str, content_hash: str, occurrence: int, attempt: int) -> str:
    """The point id of a chunk opened by an attempt: UUIDv5 of all four. No other attempt can make the same id."""
    return str(uuid.uuid5(_NAMESPACE, f"{path}\0{content_hash}\0{occurrence}\0{attempt}"))
