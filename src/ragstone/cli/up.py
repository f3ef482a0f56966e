"""`ragstone up`: API, worker and docs page in one process."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ragstone.cli.command import command
from ragstone.cli.session import Session
from ragstone.domain.errors import InvalidInput


class Profile(StrEnum):
    """Which processes run."""

    DEV = "dev"


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "up")(up)


async def up(
    session: Session,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on; beyond loopback only with a file of keys.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: any free one.")] = None,
    profile: Annotated[Profile | None, typer.Option(help="dev: processes of their own, with the servers whose programs are here.")] = None,
    workers: Annotated[int, typer.Option(help="With --profile: how many workers.", min=1, max=64)] = 1,
    mlflow: Annotated[Path | None, typer.Option(help="With --profile: the program of an MLflow server, if not on PATH.")] = None,
    services: Annotated[
        Path | None, typer.Option(help="With --profile: a ragstone with BentoML, which serves the models, if not this one.")
    ] = None,
) -> None:
    """Run ragstone here: API, worker and docs page. Ctrl-C stops it, twice at once."""
    from ragstone.cli.logged import configure
    from ragstone.cli.start import load_model
    from ragstone.services.devtree.programs import configured
    from ragstone.services.devtree.state import ensure_reached

    session.output = configure(session.output)
    settings = session.load_settings(host=host, port=port)
    if settings.role == "worker":  # it may listen beyond loopback without keys, for it serves no API
        raise InvalidInput("role: a worker serves no API; start it with `ragstone worker`, or set role to all or api.", field="role")
    if profile is not None:
        from ragstone.cli.profile import run_profile

        await run_profile(session, settings, workers, mlflow, services)
        return
    ensure_reached(settings.data_dir, configured(settings))
    loading = await load_model(settings, session.output)
    from ragstone.cli.serving import run  # the web framework is imported while the model is being loaded

    await run(session, settings, loading)
