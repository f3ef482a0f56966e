"""`ragstone prune`, `purge`, `purges`: forgetting old commits, erasing a document from all of them."""

from __future__ import annotations

from typing import Annotated

import typer

from ragstone.cli.api import url
from ragstone.cli.command import command
from ragstone.cli.ingest import COLLECTION
from ragstone.cli.output import table, text
from ragstone.cli.progress import bar, size
from ragstone.cli.session import Session
from ragstone.domain.errors import InvalidInput


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    for name, work in (("prune", prune), ("purge", purge), ("purges", purges)):
        command(app, name)(work)


async def prune(
    session: Session,
    collection: COLLECTION,
    *,
    keep_last: Annotated[int | None, typer.Option(min=1, help="Keep so many newest commits.")] = None,
    keep_days: Annotated[float | None, typer.Option(min=0, help="Keep whatever was the head within so many days.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Forget old commits and free what only they need. The head and tagged commits always stay."""

    if keep_last is None and keep_days is None:
        raise InvalidInput("Give --keep-last or --keep-days.", field="keep_last")
    async with session.client() as client:
        with bar(session.output, "Pruning"):
            body = {"keep_last": keep_last, "keep_days": keep_days, "dry_run": dry_run}
            report = await client.post(url("collections", collection, "prune"), body)
    rows = [(f"#{one['position']}", one["id"][:12], one["created_at"], one["message"]) for one in report["pruned"]]
    would = "would go" if dry_run else "gone"
    counts = (
        f"{len(rows):,} commits {would}, {len(report['kept']):,} kept; {report['points']:,} points and about {size(report['bytes'])} "
        f"{'would be ' if dry_run else ''}freed."
    )
    session.output.result(report, *([table(("", "commit", "time", "message"), rows)] if rows else []), text(counts, "bold"))


async def purge(
    session: Session,
    path: Annotated[str, typer.Argument(help="Path of the document.", metavar="PATH")],
    collection: COLLECTION,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Really erase it, from every commit.")] = False,
    reason: Annotated[str | None, typer.Option(help="For the audit record.")] = None,
    author: Annotated[str | None, typer.Option(help="For the audit record.")] = None,
) -> None:
    """Erase a document from the whole history, the index and the logged answers. Can't be undone."""

    if not yes:
        raise InvalidInput(f"This erases {path!r} from every commit and can't be undone; give --yes to do it.", field="yes")
    async with session.client() as client:
        with bar(session.output, "Erasing"):
            record = await client.post(url("collections", collection, "purge"), {"path": path, "reason": reason, "author": author})
    lines = [
        text(
            f"Erased {record['path']} from {record['commits']:,} commits, {record['points']:,} points and {record['interactions']:,} logged "
            f"answers; record {record['id']} stays."
        )
    ]
    lines += [text(f"The same bytes are also at {other}; purge that too if they must go.", "yellow") for other in record["same_content"]]
    session.output.result(record, *lines)


async def purges(session: Session, collection: COLLECTION) -> None:
    """List erasures, newest first."""

    async with session.client() as client:
        answer = await client.get(url("collections", collection, "purges"))
    rows = [(one["id"], one["begun_at"], one["state"], one["path"], one["author"], one["reason"]) for one in answer["purges"]]
    shown = table(("record", "time", "", "document", "author", "reason"), rows) if rows else text("Nothing was purged.")
    session.output.result(answer, shown)
