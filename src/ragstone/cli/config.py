"""`ragstone check-config`: every setting in force, and where it comes from."""

from __future__ import annotations

import typer

from ragstone.cli.command import command
from ragstone.cli.output import table
from ragstone.cli.session import Session


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "check-config")(check_config)


async def check_config(session: Session) -> None:
    """Show every setting with its source (default, ragstone.toml, environment, flag); secrets are masked."""
    from ragstone.adapters.key_file import KeyFile
    from ragstone.settings.load import origins

    flags = session.flags
    if session.settings.api_keys_file is not None:
        KeyFile(session.settings.api_keys_file)  # refused here, not only when the server starts
    found = origins(session.settings, data_dir=flags.data_dir, model=flags.model)
    document = {"settings": [{"name": one.name, "value": one.value, "source": one.source} for one in found]}
    session.output.result(document, table(("setting", "value", "source"), [(one.name, one.value, one.source) for one in found]))
