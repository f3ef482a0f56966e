"""Fetching an embedding model, with progress."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from ragstone.cli.output import Output
from ragstone.cli.progress import bar, duration, size

if TYPE_CHECKING:
    from ragstone.adapters.model_sources import PullProgress
    from ragstone.adapters.model_store import ModelEntry
    from ragstone.settings.model import Settings


class _Stopped(Exception):
    """The user has stopped the transfer."""


async def pull(settings: Settings, name: str, output: Output) -> ModelEntry:
    """The preset, installed. Raises as `ModelStore.pull`."""
    from ragstone.bootstrap.models import model_store

    store = model_store(settings)
    stopped = threading.Event()
    with bar(output, f"Fetching {name}") as shown:

        def tell(progress: PullProgress) -> None:
            if stopped.is_set():
                raise _Stopped
            total = f" of {size(progress.total)}" if progress.total else ""
            shown.show(progress.received, progress.total, f"{size(progress.received)}{total}, {progress.source}")

        try:
            return await asyncio.to_thread(store.pull, name, tell)
        except asyncio.CancelledError:  # Ctrl-C: the thread cleans up behind itself
            stopped.set()
            raise


async def ensure_model(settings: Settings, output: Output) -> None:
    """Fetches the model of the settings, or the one whose tokenizer they name, when it is a preset that is not here yet."""
    from ragstone.bootstrap.models import local_model, model_store

    name = local_model(settings)
    entry = next((entry for entry in model_store(settings).list() if entry.name == name), None)
    if entry is None or entry.installed:
        return
    began = time.monotonic()
    output.note(f"The embedding model {entry.name} is not here yet; fetching it (once, into the model cache).")
    entry = await pull(settings, entry.name, output)
    output.note(f"Fetched {entry.name} from {entry.source} in {duration(time.monotonic() - began)}; its digest is the expected one.")
