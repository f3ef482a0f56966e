"""`ragstone dead-letters`: jobs that were given up."""

from __future__ import annotations

from typing import Annotated

import typer

from ragstone.cli.api import url
from ragstone.cli.command import command, new_app
from ragstone.cli.documents import show_job
from ragstone.cli.following import follow
from ragstone.cli.output import table, text
from ragstone.cli.session import Session

JOB = Annotated[str, typer.Argument(help="Id of the job.", metavar="JOB")]


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = new_app("Look at jobs that were given up, queue them once more, throw them away.")
    for name, work in (("list", list_), ("show", show), ("replay", replay), ("discard", discard)):
        command(group, name)(work)
    app.add_typer(group, name="dead-letters")


async def list_(
    session: Session,
    *,
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Only jobs of this collection.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Jobs to list.", min=1, max=1000)] = 50,
    before: Annotated[str | None, typer.Option(metavar="JOB", help="Only those before this job: the next page.")] = None,
) -> None:
    """List the jobs that were given up, the latest first."""
    async with session.client() as client:
        answer = await client.get("/v1/dead-letters", collection=collection, limit=limit, before=before)
    rows = [(one["job"], one["collection"], one["failed_at"], one["tries"], one["code"], one["error"]) for one in answer["dead_letters"]]
    shown = table(("job", "collection", "given up", "tries", "", ""), rows) if rows else text("No job was given up.")
    more = [text(f"More: --before {answer['next']}")] if answer["next"] else []
    session.output.result(answer, shown, *more)


async def show(session: Session, job: JOB) -> None:
    """Why a job was given up, and what it asked for."""
    async with session.client() as client:
        letter = (await client.get(url("dead-letters", job)))["dead_letter"]
    rows = [(name.replace("_", " "), value) for name, value in letter.items() if name != "paths" and value != ""]
    session.output.result(letter, table(("", ""), [*rows, *(("document", path) for path in letter["paths"])]))


async def replay(session: Session, job: JOB) -> None:
    """Queue the same request with the same bytes as a new job, and follow it."""
    async with session.client() as client:
        fresh = (await client.post(url("dead-letters", job, "replay"), {}))["job"]
        session.interrupted = f"Interrupted; job {fresh['id']} goes on."
        fresh = await follow(client, fresh, session.output, f"Job {fresh['id'][:12]}")
    show_job(session, fresh)


async def discard(session: Session, job: JOB) -> None:
    """Throw the letter and the bytes away; the job stays failed."""
    async with session.client() as client:
        letter = (await client.get(url("dead-letters", job)))["dead_letter"]
        await client.delete(url("dead-letters", job))
    session.output.result(
        letter, text(f"Discarded: {letter['changes']:,} changes of job {letter['job']} to {letter['collection']} will not be made.")
    )
