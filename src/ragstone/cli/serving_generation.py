"""What `ragstone serve-generation` does: one process and event loop, stopped by a signal."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from ragstone import __version__
from ragstone.bootstrap.access import authenticator
from ragstone.bootstrap.generation_service import generation_engine
from ragstone.cli.logged import LoggedOutput, told_ready
from ragstone.cli.progress import duration
from ragstone.cli.serving import Server, Stop, listen, managed, url_of
from ragstone.cli.session import Session
from ragstone.services.generation.bento import make_app
from ragstone.services.generation.serving import Serving, new_serving
from ragstone.services.orchestrator.memory import settle
from ragstone.settings.model import Settings


async def run(session: Session, settings: Settings, grace: float) -> None:
    """Serves until a signal; `grace`: seconds that running answers get then. Raises `InvalidInput` (address, keys, model), `NotFound` (model)."""
    keys = await asyncio.to_thread(authenticator, settings)
    stop = Stop(lambda: session.output.note(f"Stopping: running answers get {grace:g} s; once more to quit at once."))
    began = time.monotonic()
    with stop.listening(), ExitStack() as sockets:
        bound = sockets.enter_context(listen(settings.host, settings.generation_service.port, "generation_service.port"))
        managing = None
        if settings.management_port is not None:
            managing = sockets.enter_context(listen(settings.host, settings.management_port, "management_port"))
        async with AsyncExitStack() as stack:
            if keys is not None:
                stack.push_async_callback(keys.close)
            try:
                engine = await asyncio.to_thread(generation_engine, settings)
                stack.push_async_callback(engine.close)
                await engine.start()
                serving = new_serving(settings, engine)
                app, bento = make_app(serving, keys)
                await stack.enter_async_context(bento.router.lifespan_context(bento))
                facts = _facts(serving, url_of(bound), url_of(managing) if managing else None)
                server = Server(app, lambda: _say(session, facts, time.monotonic() - began))
                server.config.timeout_graceful_shutdown = round(grace)

                def end() -> None:
                    serving.stopping = True
                    server.stop()

                stop.stop_server = end
                settle()
                async with managed(app, managing):
                    await server.serve([bound])
            except asyncio.CancelledError:
                if not stop.asked:
                    raise
    session.output.note("Stopped.")


def _facts(serving: Serving, url: str, management: str | None) -> dict[str, Any]:
    model, own = serving.engine.model, serving.settings.generation_service
    return {
        "version": __version__,
        "url": url,
        "management": management,
        "engine": own.engine.kind,
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "adapters": list(serving.engine.names[1:]),
    }


def _say(session: Session, facts: dict[str, Any], seconds: float) -> None:
    if session.output.json_mode:
        session.output.line(facts)
    if isinstance(session.output, LoggedOutput):
        told_ready({**facts, "seconds": round(seconds, 2)})
        return
    if session.output.json_mode:
        return
    model = facts["model"]
    lines = [
        f"ragstone {facts['version']}: generation service",
        f"  engine       {facts['engine']}" + ("; it may still be loading, /readyz tells" if facts["engine"] == "vllm" else ""),
        f"  model        {model['name']}"
        + (f", version {model['version']}" if model["version"] else "")
        + f", digest {model['digest'][:12] or 'none'}",
        f"  API          {facts['url']}/v1/chat/completions, /v1/models",
    ]
    if facts["management"]:
        lines.append(f"  management   {facts['management']}/readyz, /metrics")
    session.output.note("\n".join([*lines, f"Answers after {duration(seconds)}. Ctrl-C stops it."]))
