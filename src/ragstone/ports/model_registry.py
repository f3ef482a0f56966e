"""Versions of models, and the aliases that move over them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ragstone.domain.registered_models import ModelContent, ModelFile, ModelReference, ModelVersion


class ModelRegistry(Protocol):
    """Contract:

    - `register` stores the content under the name's next number (1, 2, 3 ...), with its files, read below `folder` (None: there are none), and who did it.
      The same content (by digest) again gives the version stored then. It is there whole or not at all; a file that is not the one that `content`
      says raises `InvalidInput`, naming it.
    - `version` raises `NotFound` saying which name, alias or number there is not. `versions` newest first, of a name that is not used none.
    - `move_alias` points an alias at a version and returns that. `expected`: the number that it points at now, 0 for an alias that is not used yet,
      None for whatever it is; anything else raises `Conflict`. An unknown version raises `NotFound`. `drop_alias` is idempotent.
    - `fetch` writes one file of a version to `target`, unchecked, and at most as many bytes as its size says (else `Forbidden`). `NotFound` when it is gone.
    - Raises `Unavailable`.
    """

    async def register(self, name: str, content: ModelContent, folder: Path | None, principal: str) -> ModelVersion: ...

    async def version(self, reference: ModelReference) -> ModelVersion: ...

    async def versions(self, name: str, *, limit: int = 50) -> list[ModelVersion]: ...

    async def move_alias(self, name: str, alias: str, number: int, *, expected: int | None = None) -> ModelVersion: ...

    async def drop_alias(self, name: str, alias: str) -> None: ...

    async def fetch(self, version: ModelVersion, file: ModelFile, target: Path) -> None: ...

    async def close(self) -> None: ...
