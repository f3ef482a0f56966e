"""What `ragstone serve-generation` serves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from ragstone.bootstrap.generation_service import ServedGenerator
from ragstone.cli import serving_bento
from ragstone.cli.serving_bento import Loaded, Service
from ragstone.cli.session import Session
from ragstone.ports.authenticator import Authenticator
from ragstone.services.generation.bento import make_app
from ragstone.services.generation.serving import Serving, new_serving
from ragstone.settings.model import Settings


async def run(session: Session, settings: Settings, grace: float) -> None:
    """Serves until a signal; `grace`: seconds that running answers get then. Raises `InvalidInput` (address, keys, model), `NotFound` (model)."""

    async def load(stack: AsyncExitStack, keys: Authenticator | None) -> Loaded:
        model = ServedGenerator(settings)
        stack.push_async_callback(model.close)
        serving = new_serving(settings, await model.engine())
        stack.push_async_callback(serving.engines.close)
        await serving.engine.start()
        stack.push_async_callback(model.stop)
        serving.followers = model.follow(serving.engines)
        return _loaded(serving, keys, model.end)

    farewell = f"Stopping: running answers get {grace:g} s; once more to quit at once."
    port = settings.generation_service.port
    await serving_bento.serve(session, settings, Service("generation_service", port, load, farewell, round(grace)))


def _loaded(serving: Serving, keys: Authenticator | None, end_following: Callable[[], None]) -> Loaded:
    model, engine = serving.engine.model, serving.settings.generation_service.engine.kind
    version = f", version {model.version[:12]}" if model.version else ""
    app, bento = make_app(serving, keys)

    def stopping() -> None:
        serving.stopping = True
        end_following()

    return Loaded(
        app,
        bento,
        stopping,
        facts={
            "engine": engine,
            "model": {"name": model.name, "version": model.version, "digest": model.digest},
            "adapters": list(serving.engine.names[1:]),
        },
        title="generation service",
        lines=(
            f"  engine       {engine}" + ("; it may still be loading, /readyz tells" if engine == "vllm" else ""),
            f"  model        {model.name}{version}, digest {model.digest[:12] or 'none'}",
        ),
        routes="/v1/chat/completions, /v1/models",
        word="Answers after",
    )
