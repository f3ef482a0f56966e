"""`ragstone up`: API, worker and docs page in one process."""

from __future__ import annotations

from typing import Annotated

import typer

from ragstone.cli.command import command
from ragstone.cli.session import Session
from ragstone.domain.errors import InvalidInput


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "up")(up)


async def up(
    session: Session,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on; beyond loopback only with a file of keys.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: any free one.")] = None,
) -> None:
    """Run ragstone here: API, worker and docs page. Ctrl-C stops it, twice at once."""
    from ragstone.cli.logged import configure
    from ragstone.cli.start import load_model

    session.output = configure(session.output)
    settings = session.load_settings(host=host, port=port)
    if settings.role == "worker":  # it may listen beyond loopback without keys, for it serves no API
        raise InvalidInput("role: a worker serves no API; start it with `ragstone worker`, or set role to all or api.", field="role")
    loading = await load_model(settings, session.output)
    from ragstone.cli.serving import run  # the web framework is imported while the model is being loaded

    await run(session, settings, loading)
