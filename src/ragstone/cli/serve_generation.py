"""`ragstone serve-generation`: a generative model for other processes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from ragstone.cli.command import command
from ragstone.cli.session import Session
from ragstone.domain.errors import InvalidInput


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "serve-generation")(serve_generation)


async def serve_generation(
    session: Session,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on; beyond loopback only with a file of keys.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: any free one.", min=0, max=65535)] = None,
    management_port: Annotated[
        int | None, typer.Option(help="Port of /healthz, /readyz and /metrics without keys; 0: any free one.", min=0, max=65535)
    ] = None,
    grace: Annotated[float, typer.Option(help="Seconds that running answers get at the end.", min=0.0)] = 30.0,
) -> None:
    """Serve a generative model to other processes (BentoML around llama.cpp or vLLM). Ctrl-C stops it, twice at once."""
    from ragstone.cli.logged import configure

    if find_spec("bentoml") is None:
        raise InvalidInput(
            "bentoml: it is not installed beside this ragstone; use an environment that has it (make env-bento, or pip install 'ragstone[bento]').",
            field="bentoml",
        )
    session.output = configure(session.output)
    settings = session.load_settings(host=host, management_port=management_port)
    if port is not None:
        own = settings.generation_service.model_copy(update={"port": port})
        settings = settings.model_copy(update={"generation_service": own})
    from ragstone.cli.serving_generation import run  # BentoML is slow to import

    await run(session, settings, grace)
