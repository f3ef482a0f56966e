"""A model registry in dicts."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace
from pathlib import Path

from ragstone.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from ragstone.domain.names import check_alias_name
from ragstone.domain.registered_models import ModelContent, ModelFile, ModelReference, ModelVersion, check_model_name


class InMemoryModelRegistry:
    """Implements `ModelRegistry`. `down`: it does not answer. `files`: bytes by name, number and path, which a test may change."""

    def __init__(self) -> None:
        self.down = False
        self.fetched = 0
        self.files: dict[tuple[str, int, str], bytes] = {}
        self._versions: dict[str, list[ModelVersion]] = {}
        self._aliases: dict[str, dict[str, int]] = {}

    async def register(self, name: str, content: ModelContent, folder: Path | None, principal: str) -> ModelVersion:
        self._check()
        check_model_name(name)
        known = self._versions.get(name, [])
        for one in known:
            if one.content.digest == content.digest:
                return self._shown(one)
        read = {file: (folder / file.path).read_bytes() if folder and (folder / file.path).is_file() else None for file in content.files}
        for file, found in read.items():
            if found is None or hashlib.sha256(found).hexdigest() != file.sha256:
                raise InvalidInput(f"model: {file.path} is not the file that was looked at", field="model")
        made = ModelVersion(name, len(known) + 1, content, principal, time.time())
        self.files |= {(name, made.number, file.path): found for file, found in read.items() if found is not None}
        self._versions[name] = [*known, made]
        return made

    async def version(self, reference: ModelReference) -> ModelVersion:
        self._check()
        known = self._versions.get(check_model_name(reference.name), [])
        number = self._aliases.get(reference.name, {}).get(reference.alias) if reference.alias is not None else reference.number
        for one in known:
            if one.number == number:
                return self._shown(one)
        raise NotFound(f"model: there is no {reference}", field="model")

    async def versions(self, name: str, *, limit: int = 50) -> list[ModelVersion]:
        self._check()
        return [self._shown(one) for one in reversed(self._versions.get(check_model_name(name), []))][:limit]

    async def move_alias(self, name: str, alias: str, number: int, *, expected: int | None = None) -> ModelVersion:
        check_alias_name(alias)
        await self.version(ModelReference(name, number=number))
        aliases = self._aliases.setdefault(name, {})
        if expected not in (None, aliases.get(alias, 0)):
            raise Conflict("it moved meanwhile", field="expected")
        aliases[alias] = number
        return await self.version(ModelReference(name, number=number))

    async def drop_alias(self, name: str, alias: str) -> None:
        self._check()
        self._aliases.get(name, {}).pop(alias, None)

    async def fetch(self, version: ModelVersion, file: ModelFile, target: Path) -> None:
        self._check()
        self.fetched += 1
        found = self.files.get((version.name, version.number, file.path))
        if found is None:
            raise NotFound(f"model: {file.path} is gone", field="model")
        if len(found) > file.size:
            raise Forbidden(f"model: {file.path} is larger than it was", field="model")
        await asyncio.to_thread(target.write_bytes, found)

    async def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.down:
            raise Unavailable("models: it does not answer", field="models")

    def _shown(self, version: ModelVersion) -> ModelVersion:
        aliases = self._aliases.get(version.name, {})
        return replace(version, aliases=tuple(sorted(alias for alias, number in aliases.items() if number == version.number)))
