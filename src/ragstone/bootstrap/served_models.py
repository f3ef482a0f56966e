"""The models of a service: of a preset, a directory or a version of the registry; where an alias names one, it is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from ragstone.adapters.batching_embedder import BatchFacts
from ragstone.adapters.model_downloads import ModelDownloads
from ragstone.adapters.served_models import ModelSlot, ServedEmbedder, ServedReranker
from ragstone.bootstrap.model_services import check_own, served_embedder, served_embedder_at, served_reranker, served_reranker_at
from ragstone.bootstrap.models import model_store
from ragstone.bootstrap.registry import downloads, registry_at
from ragstone.domain.registered_models import LocalModel, ModelKind, ModelVersion, is_reference, parse_reference
from ragstone.ports.model_registry import ModelRegistry
from ragstone.settings import rerankers
from ragstone.settings.model import Settings
from ragstone.use_cases.alias_follower import AliasFollower, Closable, Loading, Slot
from ragstone.use_cases.model_acceptance import accept_embedder, accept_reranker

M = TypeVar("M", bound=Closable)


class ServedModels:
    """Loads them, then follows. `on_batch`: of the embedder. To be stopped before the models are closed, and closed in any case."""

    def __init__(self, settings: Settings, on_batch: Callable[[BatchFacts], None]) -> None:
        self._settings = settings
        self._on_batch = on_batch
        self._registry: ModelRegistry | None = None  # made when something is asked of it
        self._found: dict[ModelKind, LocalModel] = {}
        self._following: list[asyncio.Task[None]] = []

    async def embedder(self) -> ServedEmbedder:
        """The embedding model, loaded. Raises as `served_embedder` and `ModelDownloads.local`."""
        if not is_reference(self._settings.model):
            return await asyncio.to_thread(served_embedder, self._settings, self._on_batch)
        check_own(self._settings)
        found = await self._local("embedder", self._settings.model, "model")
        return await asyncio.to_thread(self._load_embedder, found.version, found.path)

    async def reranker(self) -> ServedReranker | None:
        """The reranker, loaded; None where the settings name none to be served. Raises as `served_reranker` and `ModelDownloads.local`."""
        onnx = self._settings.reranker
        if not isinstance(onnx, rerankers.OnnxReranker) or not is_reference(onnx.model):
            return await asyncio.to_thread(served_reranker, self._settings)
        found = await self._local("reranker", onnx.model, "reranker.model")
        return await asyncio.to_thread(partial(self._load_reranker, onnx), found.version, found.path)

    def follow(
        self, embedder: ModelSlot[ServedEmbedder], reranker: ModelSlot[ServedReranker] | None
    ) -> tuple[AliasFollower[ServedEmbedder] | AliasFollower[ServedReranker], ...]:
        """From now on what an alias names is what it means. Returns what follows, for its `problem`."""
        followers: list[AliasFollower[ServedEmbedder] | AliasFollower[ServedReranker]] = []
        if (first := self._follower("embedder", self._settings.model, embedder, self._load_embedder, _accept_embedder)) is not None:
            followers.append(first)
        onnx = self._settings.reranker
        if reranker is not None and isinstance(onnx, rerankers.OnnxReranker):
            load = partial(self._load_reranker, onnx)
            if (second := self._follower("reranker", onnx.model, reranker, load, _accept_reranker)) is not None:
                followers.append(second)
        self._following = [asyncio.create_task(each.run(), name=f"follow {each.reference}") for each in followers]
        return tuple(followers)

    async def stop(self) -> None:
        """Ends the following: nothing is put into a slot any more."""
        for task in self._following:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def close(self) -> None:
        """Closes the registry."""
        if self._registry is not None:
            await self._registry.close()

    async def _local(self, kind: ModelKind, source: str, field: str) -> LocalModel:
        found = await self._downloads().local(parse_reference(source, field), kind)
        self._found[kind] = found
        return found

    def _downloads(self) -> ModelDownloads:
        if self._registry is None:
            self._registry = registry_at(self._settings.tracking, self._settings.data_dir)
        return downloads(self._registry, model_store(self._settings), self._settings.model_registry)

    def _follower(
        self,
        kind: ModelKind,
        source: str,
        slot: Slot[M],
        load: Callable[[ModelVersion, Path], M],
        accept: Callable[[M, M], Awaitable[None]],
    ) -> AliasFollower[M] | None:
        found = self._found.get(kind)
        if found is None or (reference := parse_reference(source)).alias is None:
            return None
        there = self._downloads()
        loading = Loading(there.look, partial(there.path, kind=kind), load, accept)
        interval = self._settings.model_registry.poll_seconds
        return AliasFollower(reference, found.version, slot, loading, interval=interval, as_last_seen=found.as_last_seen)

    def _load_embedder(self, version: ModelVersion, path: Path) -> ServedEmbedder:
        return served_embedder_at(self._settings, path, self._on_batch, str(version.number), version.label)

    def _load_reranker(self, onnx: rerankers.OnnxReranker, version: ModelVersion, path: Path) -> ServedReranker:
        return served_reranker_at(self._settings, onnx, path, str(version.number), version.label)


async def _accept_embedder(new: ServedEmbedder, old: ServedEmbedder) -> None:
    await accept_embedder(new.embedder, old.embedder)


async def _accept_reranker(new: ServedReranker, old: ServedReranker) -> None:
    await accept_reranker(new.reranker, old.reranker)
