"""`ragstone impact`: past answers that a change of the documents made out of date."""

from __future__ import annotations

from typing import Annotated

import typer

from ragstone.cli.api import url
from ragstone.cli.command import command
from ragstone.cli.ingest import COLLECTION
from ragstone.cli.output import one_line, text
from ragstone.cli.session import Session
from ragstone.cli.words import commit_name, place
from ragstone.domain.errors import InvalidInput


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "impact")(impact)


async def impact(
    session: Session,
    change: Annotated[str, typer.Argument(help="Two commits: ids, tags, #positions, times or head.", metavar="A..B")],
    collection: COLLECTION,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Answers to show, newest first.")] = 20,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Only answers stored before this interaction.")] = None,
) -> None:
    """List past answers that cite passages which B changed or removed, with the old and the new text."""

    first, dots, second = change.partition("..")
    if not (first and dots and second):
        raise InvalidInput(f"{change!r} does not name two commits; write A..B, as in v1..head.", field="change")
    async with session.client() as client:
        answer = await client.get(
            url("collections", collection, "impact"), **{"from": first, "to": second, "limit": limit, "before": before}
        )
    lines = []
    for one in answer["answers"]:
        lines.append(text(one["question"], "bold"))
        lines.append(text(f"    {one_line(one['answer'])}"))
        for affected in one["citations"]:
            citation = affected["citation"]
            lines.append(text(f"[{citation['marker']}] {place(citation)}: {affected['document']}"))
            lines.append(text(f"  - {one_line(affected['old_text'] or citation['quote'] or 'text not kept')}", "red"))
            if affected["new_text"] is not None:
                lines.append(text(f"  + {one_line(affected['new_text'])}", "green"))
        lines.append(text(f"    {one['created_at']}, #{one['position']}, interaction {one['id']}", "dim"))
        lines.append(text())
    names = " to ".join(commit_name(answer[end]["position"], answer[end]["id"]) for end in ("from", "to"))
    more = f"; more: --before {answer['next']}" if answer["next"] else ""
    count = f"{len(answer['answers']):,} answers affected" if answer["answers"] or before else "No answer is affected"
    documents = f"{answer['documents']:,} documents changed or removed"
    session.output.result(answer, *lines, text(f"{collection} {names}: {documents}. {count}{more}.", "bold"))
