"""`ragstone migrate`: the data directory as this release wants it."""

from __future__ import annotations

import typer

from ragstone.cli.command import command
from ragstone.cli.output import text
from ragstone.cli.session import Session


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "migrate")(migrate)


async def migrate(session: Session) -> None:
    """Bring the data directory to this release's formats; one that is not there is made. `ragstone up` does the same by itself."""
    from ragstone.adapters.data_formats import FORMAT
    from ragstone.bootstrap.maintenance import migrate as bring_up_to_date

    damaged = await bring_up_to_date(session.settings)
    for name in damaged:
        session.output.warn(f"The index {name} can't be opened; `ragstone doctor` says what to do.")
    place = str(session.settings.data_dir.resolve())
    document = {"data_directory": place, "format": FORMAT, "damaged_indexes": damaged}
    session.output.result(document, text(f"{place} is up to date (format {FORMAT})."))
