"""What `ragstone up` does before the web framework is imported: the model is loaded beside that."""

from __future__ import annotations

import asyncio

from ragstone.bootstrap.models import embedding_model
from ragstone.bootstrap.platform import find_owner
from ragstone.cli.output import Output
from ragstone.cli.pull import ensure_model
from ragstone.domain.errors import DataDirectoryError, Unavailable
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.settings.model import Settings

_PATIENCE, _PAUSE = 240.0, 1.0  # seconds; less than a start may take in the charts (probes.startupSeconds)


async def load_model(settings: Settings, output: Output) -> asyncio.Future[EmbeddingModel]:
    """The model of the settings, fetched if need be, and being loaded. Raises `DataDirectoryError` when a server runs for the data directory.

    A process of a cluster (role `api` or `worker`) waits up to four minutes for an embedding server that does not answer: they start in any order.
    """
    if (address := find_owner(settings)) is not None:
        raise DataDirectoryError(
            f"ragstone runs for this data directory already, at {address}; use that one, stop it, or name another with --data-dir.",
            field="data_dir",
        )
    await ensure_model(settings, output)
    loading = asyncio.ensure_future(_loaded(settings, output, 0.0 if settings.role == "all" else _PATIENCE))
    await asyncio.sleep(0)  # it begins now: the caller's imports keep the event loop busy
    return loading


async def _loaded(settings: Settings, output: Output, patience: float) -> EmbeddingModel:
    loop = asyncio.get_running_loop()
    until, told = loop.time() + patience, False
    while True:
        try:
            return await loop.run_in_executor(None, embedding_model, settings)
        except Unavailable as error:
            if loop.time() >= until:
                raise
            if not told:
                output.note(f"{error.message} It is waited for, up to {patience:.0f} s.")
                told = True
        await asyncio.sleep(_PAUSE)
