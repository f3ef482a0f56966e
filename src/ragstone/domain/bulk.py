"""Bulk work: many texts, spread over shards that embed them side by side (ADR 0032)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ragstone.domain.retrieval import Vectors
from ragstone.domain.spaces import ModelIdentity


@dataclass(frozen=True, slots=True)
class BulkRun:
    """One piece of bulk work. `id`: `run_id` of what it is for. `shards` have the numbers 0 to `shards` - 1. `started_at`: Unix seconds."""

    id: str
    model: ModelIdentity
    shards: int
    started_at: float


@dataclass(frozen=True, slots=True)
class BulkPart:
    """Texts, by content hash, that one shard embeds and stages together: what a kill may cost. `id` follows from shard and hashes."""

    shard: int
    texts: Mapping[str, str] = field(hash=False)

    @property
    def id(self) -> str:
        """32 hexadecimal digits. The same texts cut into parts again give the same ids."""
        return hashlib.sha256("\n".join((str(self.shard), *self.texts)).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, eq=False)
class PartVectors:
    """What became of the part `id`. `rows`: float32 (n, d), row i for the content hash `hashes[i]`."""

    id: str
    hashes: Sequence[str]
    rows: Vectors


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a shard is, in texts. `rate`: texts a second since the run began; `seconds_left` None when unknown."""

    shard: int
    done: int
    total: int
    rate: float = 0.0
    seconds_left: float | None = None


def run_id(owner: str, space_id: str) -> str:
    """Of the work that a job, or the build of a space, has in one space."""
    return f"{owner}_{space_id}"


def owner_of(run: str) -> str:
    """The job or build of a run."""
    return run.split("_", 1)[0]


def shard_of(path: str, shards: int) -> int:
    """Where a document's chunks go: its path's BLAKE2b hash, modulo `shards`. The same on every machine."""
    return int.from_bytes(hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") % shards


def parts_of(documents: Iterable[tuple[str, Mapping[str, str]]], shards: int, size: int) -> list[BulkPart]:
    """Every text in exactly one part, of at most `size` texts.

    `documents`: paths, with texts by content hash. A document's texts go to its shard; a text that several have, to the first one's.
    """
    seen: set[str] = set()
    texts: list[dict[str, str]] = [{} for _ in range(shards)]
    for path, own in documents:
        fresh = {hashed: text for hashed, text in own.items() if hashed not in seen}
        seen.update(fresh)
        texts[shard_of(path, shards)] |= fresh
    return [
        BulkPart(shard, dict(items[start : start + size]))
        for shard, items in enumerate(list(own.items()) for own in texts)
        for start in range(0, len(items), size)
    ]
