"""Registered models of a service: where the settings name one by an alias, it is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from ragstone.adapters.model_downloads import ModelDownloads
from ragstone.bootstrap.models import model_store
from ragstone.bootstrap.registry import downloads, naming, registry_at
from ragstone.domain.registered_models import LocalModel, ModelKind, ModelVersion, parse_reference
from ragstone.ports.model_registry import ModelRegistry
from ragstone.settings.model import Settings
from ragstone.use_cases.alias_follower import AliasFollower, Closable, Loading, Slot

M = TypeVar("M", bound=Closable)


class FollowedModels:
    """Fetches them, then follows. To be stopped before the models are closed, and closed in any case."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry: ModelRegistry | None = None  # made when something is asked of it
        self._found: dict[ModelKind, LocalModel] = {}
        self._following: list[asyncio.Task[None]] = []
        self._stopped = False

    async def _local(self, kind: ModelKind, source: str, field: str) -> LocalModel:
        """A version that a setting (`field`) names, fetched and compared. Raises as `parse_reference` and `ModelDownloads.local`, naming the setting."""
        reference = parse_reference(source, field)
        with naming(field):
            found = await self._downloads().local(reference, kind)
        self._found[kind] = found
        return found

    def _follow(
        self,
        kind: ModelKind,
        source: str,
        slot: Slot[M],
        load: Callable[[ModelVersion, Path], M],
        accept: Callable[[M, M], Awaitable[None]],
        tells_only: str | None = None,
    ) -> tuple[AliasFollower[M], ...]:
        """From now on what is in the slot is what the alias means. Returns what follows it, for its `problem`; nothing where `source` is no alias."""
        found = self._found.get(kind)
        if found is None or (reference := parse_reference(source)).alias is None:
            return ()
        there = self._downloads()
        loading = Loading(there.look, partial(there.path, kind=kind), load, accept)
        interval = self._settings.model_registry.poll_seconds
        follower = AliasFollower(
            reference, found.version, slot, loading, interval=interval, as_last_seen=found.as_last_seen, tells_only=tells_only
        )
        self._following.append(asyncio.create_task(follower.run(), name=f"follow {reference}"))
        return (follower,)

    def end(self) -> None:
        """Nothing is put into a slot any more; `stop` waits until what was being loaded is gone."""
        if not self._stopped:
            self._stopped = True
            for task in self._following:
                task.cancel()  # once: a second time would end the closing of what was being loaded

    async def stop(self) -> None:
        """Ends the following."""
        self.end()
        for task in self._following:
            with suppress(asyncio.CancelledError):
                await task

    async def close(self) -> None:
        """Closes the registry."""
        if self._registry is not None:
            await self._registry.close()

    def _downloads(self) -> ModelDownloads:
        if self._registry is None:
            self._registry = registry_at(self._settings.tracking, self._settings.data_dir)
        return downloads(self._registry, model_store(self._settings), self._settings.model_registry)
