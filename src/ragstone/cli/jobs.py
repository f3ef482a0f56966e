"""`ragstone jobs`: what was accepted, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli.api import Json, url
from ragstone.cli.command import command
from ragstone.cli.following import TERMINAL, describe, follow
from ragstone.cli.output import table, text
from ragstone.cli.session import Session
from ragstone.cli.words import commit_name

if TYPE_CHECKING:
    from ragstone.cli.client import Client


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "jobs")(jobs)


async def jobs(
    session: Session,
    job: Annotated[str | None, typer.Argument(help="Show this job; without it, jobs are listed, newest first.", metavar="[ID]")] = None,
    *,
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Only jobs of this collection.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Jobs to list.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay with the job until it is over. With --json: one event a line.")
    ] = False,
) -> None:
    """List jobs, show one, or follow it."""

    async with session.client() as client:
        if job is None:
            answer = await client.get("/v1/jobs", collection=collection, limit=limit)
            rows = [(one["id"], one["collection"], one["state"], one["created_at"], _what(one)) for one in answer["jobs"]]
            session.output.result(answer, table(("job", "collection", "state", "accepted", ""), rows) if rows else text("No jobs yet."))
            return
        shown = (await client.get(url("jobs", job)))["job"]
        if follow and session.output.json_mode:
            async for event in client.events("GET", url("jobs", job, "events")):
                session.output.line(event.data["job"])
            return
        if follow:
            shown = await _followed(session, client, shown)
    session.output.result(shown, table(("", ""), _rows(shown)))


async def _followed(session: Session, client: Client, job: Json) -> Json:

    return await follow(client, job, session.output, f"Job {job['id'][:12]}")


def _what(job: Json) -> str:

    told = _told(job)
    return f"embedding space {job['space_id']}: {told}" if job.get("space_id") else told


def _told(job: Json) -> str:
    if job["state"] not in TERMINAL:
        return describe(job.get("progress") or {})
    result = job.get("result") or {}
    if job.get("space_id") and not result.get("error"):
        return "ready"
    return str(result.get("error") or commit_name(result.get("position"), result.get("commit_id")))


def _rows(job: Json) -> list[tuple[str, object]]:
    result = job.get("result") or {}
    stats = result.get("stats") or {}
    return [
        ("job", job["id"]),
        ("collection", job["collection"]),
        ("state", job["state"]),
        ("accepted", job["created_at"]),
        ("finished", job.get("finished_at")),
        ("", _what(job)),
        *((name.replace("_", " "), f"{count:,}") for name, count in stats.items() if count),
        *(("left out", failure["message"]) for failure in result.get("failures") or ()),
    ]
