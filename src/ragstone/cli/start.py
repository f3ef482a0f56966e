"""What `ragstone up` does before the web framework is imported: the model is loaded beside that."""

from __future__ import annotations

import asyncio

from ragstone.bootstrap.models import embedding_model
from ragstone.bootstrap.platform import find_owner
from ragstone.cli.output import Output
from ragstone.cli.pull import ensure_model
from ragstone.domain.errors import DataDirectoryError
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.settings.model import Settings


async def load_model(settings: Settings, output: Output) -> asyncio.Future[EmbeddingModel]:
    """The model of the settings, fetched if need be, and being loaded. Raises `DataDirectoryError` when a server runs for the data directory."""
    if (address := find_owner(settings)) is not None:
        raise DataDirectoryError(
            f"ragstone runs for this data directory already, at {address}; use that one, stop it, or name another with --data-dir.",
            field="data_dir",
        )
    await ensure_model(settings, output)
    return asyncio.get_running_loop().run_in_executor(None, embedding_model, settings)
