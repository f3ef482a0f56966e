"""The models of the embedding service: of a preset, a directory or a version of the registry; where an alias names one, it is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ragstone.adapters.batching_embedder import BatchFacts
from ragstone.adapters.served_models import ServedEmbedder, ServedReranker
from ragstone.bootstrap.followed_models import FollowedModels
from ragstone.bootstrap.model_services import check_own, served_embedder, served_embedder_at, served_reranker, served_reranker_at
from ragstone.domain.registered_models import ModelVersion, is_reference
from ragstone.settings import rerankers
from ragstone.settings.model import Settings
from ragstone.use_cases.alias_follower import AliasFollower
from ragstone.use_cases.model_acceptance import accept_embedder, accept_reranker
from ragstone.use_cases.model_slot import ModelSlot


class ServedModels(FollowedModels):
    """Loads them, then follows. `on_batch`: of the embedder."""

    def __init__(self, settings: Settings, on_batch: Callable[[BatchFacts], None]) -> None:
        super().__init__(settings)
        self._on_batch = on_batch

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
        first = self._follow("embedder", self._settings.model, embedder, self._load_embedder, _accept_embedder)
        onnx = self._settings.reranker
        if reranker is None or not isinstance(onnx, rerankers.OnnxReranker):
            return first
        return first + self._follow("reranker", onnx.model, reranker, partial(self._load_reranker, onnx), _accept_reranker)

    def _load_embedder(self, version: ModelVersion, path: Path) -> ServedEmbedder:
        return served_embedder_at(self._settings, path, self._on_batch, str(version.number), version.label)

    def _load_reranker(self, onnx: rerankers.OnnxReranker, version: ModelVersion, path: Path) -> ServedReranker:
        return served_reranker_at(self._settings, onnx, path, str(version.number), version.label)


async def _accept_embedder(new: ServedEmbedder, old: ServedEmbedder) -> None:
    await accept_embedder(new.embedder, old.embedder)


async def _accept_reranker(new: ServedReranker, old: ServedReranker) -> None:
    await accept_reranker(new.reranker, old.reranker)
