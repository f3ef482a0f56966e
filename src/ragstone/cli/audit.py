"""`ragstone audit`: who changed or administered what."""

from __future__ import annotations

from typing import Annotated

import typer

from ragstone.cli.command import command
from ragstone.cli.output import table, text
from ragstone.cli.session import Session


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "audit")(audit)


async def audit(
    session: Session,
    *,
    principal: Annotated[str | None, typer.Option(help="Only what this one did.")] = None,
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Only what concerns this collection.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only then (ISO 8601) or later.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only before then.")] = None,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Only what was stored before this entry.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many, newest first.")] = 50,
) -> None:
    """List who changed or administered what, and who tried to, newest first."""

    query = {"principal": principal, "collection": collection, "since": since, "until": until, "before": before}
    async with session.client() as client:
        answer = await client.get("/v1/audit", limit=limit, **query)
    rows = [
        (one["at"], one["principal"] or "(nobody known)", one["what"], one["collection"], one["status"], one["request_id"])
        for one in answer["entries"]
    ]
    nothing = "None is like that." if any(query.values()) else "Nothing was changed yet."
    shown = table(("time", "who", "what", "collection", "status", "request"), rows) if rows else text(nothing)
    session.output.result(answer, shown)
