"""A service's model: of a preset, a directory or a version of the registry, and following where it is named by an alias."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from ragstone.adapters.model_downloads import ModelDownloads
from ragstone.domain.registered_models import ModelKind, is_reference, parse_reference
from ragstone.use_cases.alias_follower import AliasFollower, ModelSource
from ragstone.use_cases.model_holder import ModelHolder

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Loading(Generic[M]):
    """How a kind of model is loaded (blocking), accepted in another one's place (`accept(new, old)`), named where it is of no registry, and closed (blocking)."""

    kind: ModelKind
    load: Callable[[Path], M]
    accept: Callable[[M, M], Awaitable[None]]
    name: Callable[[M], str]
    close: Callable[[M], None]


@asynccontextmanager
async def followed(
    source: str,
    loading: Loading[M],
    downloads: ModelDownloads,
    local: Callable[[str], Path],
    *,
    interval: float,
    field: str = "model",
) -> AsyncIterator[tuple[ModelHolder[M], AliasFollower[M] | None]]:
    """The model of a setting, loaded, and what follows its alias, where it is named by one; both are ended at the end.

    `local`: path of a preset or directory. `interval`: seconds between two looks. Raises what it takes to have the first model, so that a service does not
    start with none: as `ModelDownloads.local`, `local` and `loading.load`.
    """
    if not is_reference(source):
        path = await asyncio.to_thread(local, source)
        model = await asyncio.to_thread(loading.load, path)
        holder = ModelHolder(model, loading.name(model), loading.close)
        try:
            yield holder, None
        finally:
            await holder.close()
        return
    reference = parse_reference(source, field)
    found = await downloads.local(reference, loading.kind)
    model = await asyncio.to_thread(loading.load, found.path)
    holder = ModelHolder(model, found.version.label, loading.close)
    follower = None
    following = None
    if reference.alias is not None:
        how = ModelSource(downloads.look, partial(downloads.path, kind=loading.kind), loading.load, loading.accept, loading.close)
        follower = AliasFollower(reference, found.version, holder, how, interval=interval, as_last_seen=found.as_last_seen)
        following = asyncio.create_task(follower.run(), name=f"follow {reference}")
    try:
        yield holder, follower
    finally:
        if following is not None:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
        await holder.close()
