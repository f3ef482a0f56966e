"""`ragstone worker`: takes jobs from the queue and works them off; serves no API."""

from __future__ import annotations

from typing import Annotated

import typer

from ragstone.cli.command import command
from ragstone.cli.session import Session


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "worker")(worker)


async def worker(
    session: Session,
    *,
    host: Annotated[str | None, typer.Option(help="Address of the management port.")] = None,
    management_port: Annotated[
        int | None, typer.Option(help="Port of /healthz, /readyz and /metrics; 0: any free one. Without it: none.", min=0, max=65535)
    ] = None,
    grace: Annotated[float, typer.Option(help="Seconds that jobs get at the end; then they are handed back.", min=0.0)] = 20.0,
) -> None:
    """Work jobs off beside other processes: settings of a cluster. Ctrl-C stops it, twice at once."""
    from ragstone.cli.logged import configure
    from ragstone.cli.start import load_model

    session.output = configure(session.output)
    settings = session.load_settings(host=host, management_port=management_port, role="worker")
    loading = await load_model(settings, session.output)
    from ragstone.cli.working import run  # the web framework is imported while the model is being loaded

    await run(session, settings, loading, grace)
