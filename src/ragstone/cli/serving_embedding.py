"""What `ragstone serve-embedding` does: one process and event loop, stopped by a signal."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, replace
from typing import Any

from ragstone import __version__
from ragstone.adapters.batching_embedder import BatchFacts
from ragstone.bootstrap.access import authenticator
from ragstone.bootstrap.served_models import ServedModels
from ragstone.cli.logged import LoggedOutput, told_ready
from ragstone.cli.progress import duration
from ragstone.cli.serving import Server, Stop, listen, managed, url_of
from ragstone.cli.session import Session
from ragstone.services.embedding.app import new_serving
from ragstone.services.embedding.bento import make_app
from ragstone.services.embedding.serving import Serving
from ragstone.services.orchestrator.memory import settle
from ragstone.settings.model import Settings
from ragstone.telemetry.embedding_metrics import EmbeddingMetrics


async def run(session: Session, settings: Settings) -> None:
    """Serves until a signal. Raises `InvalidInput` (address, keys, model, provider), `NotFound` (model)."""
    keys = await asyncio.to_thread(authenticator, settings)
    stop = Stop(lambda: session.output.note("Stopping; once more to quit at once."))
    began = time.monotonic()
    with stop.listening(), ExitStack() as sockets:
        bound = sockets.enter_context(listen(settings.host, settings.embedding_service.port, "embedding_service.port"))
        managing = None
        if settings.management_port is not None:
            managing = sockets.enter_context(listen(settings.host, settings.management_port, "management_port"))
        async with AsyncExitStack() as stack:
            if keys is not None:
                stack.push_async_callback(keys.close)
            try:
                serving = await _load(settings, stack)
                app, bento = make_app(serving, keys)
                await stack.enter_async_context(bento.router.lifespan_context(bento))
                facts = _facts(serving, url_of(bound), url_of(managing) if managing else None)
                server = Server(app, lambda: _say(session, facts, time.monotonic() - began))

                def end() -> None:
                    serving.readiness.stopping = True
                    server.stop()

                stop.stop_server = end
                settle()
                async with managed(app, managing):
                    await server.serve([bound])
            except asyncio.CancelledError:
                if not stop.asked:
                    raise
    session.output.note("Stopped.")


async def _load(settings: Settings, stack: AsyncExitStack) -> Serving:
    """The models, loaded; closed with the stack."""
    metrics = EmbeddingMetrics()

    def on_batch(facts: BatchFacts) -> None:
        metrics.batch(**asdict(facts))

    models = ServedModels(settings, on_batch)
    stack.push_async_callback(models.close)
    embedder = await models.embedder()
    reranker = await models.reranker()
    serving = new_serving(settings, metrics, embedder, reranker)
    stack.push_async_callback(serving.close)
    stack.push_async_callback(models.stop)
    return replace(serving, followers=models.follow(serving.embedder, serving.reranker))


def _facts(serving: Serving, url: str, management: str | None) -> dict[str, Any]:
    model = serving.embedder.now
    identity = model.embedder.identity
    reranker = serving.reranker.now.reranker.identity if serving.reranker else None
    return {
        "version": __version__,
        "url": url,
        "management": management,
        "model": {"name": identity.name, "version": model.version, "digest": identity.digest, "space": identity.space},
        "reranker": asdict(reranker) if reranker else None,
    }


def _say(session: Session, facts: dict[str, Any], seconds: float) -> None:
    if session.output.json_mode:
        session.output.line(facts)
    if isinstance(session.output, LoggedOutput):
        told_ready({**facts, "seconds": round(seconds, 2)})
        return
    if session.output.json_mode:
        return
    model, reranker = facts["model"], facts["reranker"]
    lines = [
        f"ragstone {facts['version']}: embedding service",
        f"  model        {model['name']}, version {model['version']}, SHA-256 {model['digest'][:12]}, space {model['space']}",
        f"  reranker     {reranker['name']}, SHA-256 {reranker['digest'][:12]}" if reranker else "  reranker     none",
        f"  API          {facts['url']}/v1/embeddings, /v1/models, /embed" + (", /rerank" if reranker else ""),
    ]
    if facts["management"]:
        lines.append(f"  management   {facts['management']}/readyz, /metrics")
    session.output.note("\n".join([*lines, f"Ready in {duration(seconds)}. Ctrl-C stops it."]))
