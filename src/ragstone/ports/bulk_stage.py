"""Texts on their way to shards, and vectors on their way back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from ragstone.domain.bulk import BulkPart, BulkRun, PartVectors
from ragstone.domain.retrieval import Vectors


class BulkStage(Protocol):
    """Contract:

    - `order(run, parts)`: from now on these parts of the run wait, and no others; those whose vectors are there already don't. Vectors that the run has
      stay, unless they are of another model: then they go first. May be called again, also while shards are at work.
    - `run` raises `NotFound` for one that was not ordered, or was discarded. `runs`: their ids.
    - `waiting(run_id, shard)`: ids of the shard's parts that wait; none for a run that is not there.
    - `part(run_id, shard, part_id)`: its texts. `NotFound` when it does not wait.
    - `put(run_id, part, vectors)`: `vectors` is float32 (n, d), row i for the part's text i. All or nothing, and there however soon the process is killed; the part waits no more, and its
      texts are deleted. Done again it changes nothing. A part that is not ordered any more is taken all the same. `NotFound` when the run is not there.
    - `vectors(run_id, without)`: of all parts whose vectors are there, but for those ids; [] for a run that is not there.
    - `progress(run_id)`: for each shard of the run the number of texts whose vectors are there, and of all; [] for a run that is not there.
    - `discard(run_id)`: nothing of the run is left. Idempotent.
    - Raises `StorageFull` when there is no space, `Unavailable` when the store does not answer. Several processes may use one stage.
    """

    async def order(self, run: BulkRun, parts: Sequence[BulkPart]) -> None: ...

    async def run(self, run_id: str) -> BulkRun: ...

    async def runs(self) -> list[str]: ...

    async def waiting(self, run_id: str, shard: int) -> list[str]: ...

    async def part(self, run_id: str, shard: int, part_id: str) -> BulkPart: ...

    async def put(self, run_id: str, part: BulkPart, vectors: Vectors) -> None: ...

    async def vectors(self, run_id: str, without: Collection[str] = ()) -> list[PartVectors]: ...

    async def progress(self, run_id: str) -> list[tuple[int, int]]: ...

    async def discard(self, run_id: str) -> None: ...
