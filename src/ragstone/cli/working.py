"""What `ragstone worker` does: consumes until a signal, then finishes what it is at or hands it back."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable
from contextlib import ExitStack
from typing import Any

from ragstone import __version__
from ragstone.bootstrap.platform import open_directory
from ragstone.cli.logged import LoggedOutput, told_ready
from ragstone.cli.progress import duration
from ragstone.cli.serving import Stop, listen, managed, url_of
from ragstone.cli.session import Session
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.services.orchestrator.app import create_app
from ragstone.services.orchestrator.memory import settle
from ragstone.settings.model import Settings
from ragstone.settings.stores import NatsQueue
from ragstone.use_cases.platform import Platform


async def run(session: Session, settings: Settings, model: Awaitable[EmbeddingModel], grace: float) -> None:
    """Works until a signal. Raises `InvalidInput` (address), `DataDirectoryError` (owned already), `Unavailable` (no catalog)."""
    stop = Stop(lambda: session.output.note(f"Stopping: jobs get {grace:g} s, then they are handed back; once more to quit at once."))
    with stop.listening(), ExitStack() as sockets:
        managing = None
        if settings.management_port is not None:
            managing = sockets.enter_context(listen(settings.host, settings.management_port, "management_port"))
        try:
            await _work(session, settings, model, grace, stop, managing)
        except asyncio.CancelledError:
            if not stop.asked:
                raise
    session.output.note("Stopped.")


async def _work(
    session: Session, settings: Settings, model: Awaitable[EmbeddingModel], grace: float, stop: Stop, managing: socket.socket | None
) -> None:
    began = time.monotonic()
    async with open_directory(settings, embedder=await model) as (platform, _):  # not announced: no command finds an API here
        app = create_app(platform, settings)
        stopped = asyncio.Event()

        def end() -> None:
            app.state.readiness.stopping = True
            stopped.set()

        stop.stop_server = end
        settle()
        async with managed(app, managing):
            _say(session, _loaded(platform, settings, managing), time.monotonic() - began)
            await stopped.wait()
            await platform.drain(grace)


def _loaded(platform: Platform, settings: Settings, managing: socket.socket | None) -> dict[str, Any]:
    model, queue = platform.embedder.identity, settings.queue
    return {
        "version": __version__,
        "role": settings.role,
        "management": url_of(managing) if managing else None,
        "data_directory": str(settings.data_dir.resolve()),
        "model": {"name": model.name, "dimension": model.dimension, "digest": model.digest},
        "collections_at_a_time": queue.parallel if isinstance(queue, NatsQueue) else 1,
    }


def _say(session: Session, loaded: dict[str, Any], seconds: float) -> None:
    output = session.output
    if isinstance(output, LoggedOutput):
        told_ready({**loaded, "seconds": round(seconds, 2)})
    if output.json_mode:
        output.line(loaded)
    if output.json_mode or isinstance(output, LoggedOutput):
        return
    model = loaded["model"]
    lines = [
        f"ragstone {loaded['version']}, a worker",
        f"  model        {model['name']}, {model['dimension']} dimensions, SHA-256 {model['digest'][:12]}",
        f"  at a time    {loaded['collections_at_a_time']} collections",
        *([f"  management   {loaded['management']}/readyz, /metrics"] if loaded["management"] else []),
        f"Ready in {duration(seconds)}. Ctrl-C stops it.",
    ]
    output.note("\n".join(lines))
