"""`ragstone log`, `show`, `diff`, `tag`, `rollback`: the history of a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli.api import Json, url
from ragstone.cli.command import command
from ragstone.cli.documents import show_job
from ragstone.cli.following import follow
from ragstone.cli.ingest import COLLECTION
from ragstone.cli.output import table, text
from ragstone.cli.session import Session
from ragstone.cli.values import if_match_header
from ragstone.domain.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import RenderableType


_REF = "Commit (7 or more digits), tag, #position, ISO time or head."
_SIGNS = {"added": "+", "changed": "~", "removed": "-"}


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    for name, work in (("log", log), ("show", show), ("diff", diff), ("tag", tag), ("rollback", rollback)):
        command(app, name)(work)


async def log(
    session: Session,
    collection: COLLECTION,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Commits to show, newest first.")] = 20,
    before: Annotated[int | None, typer.Option(help="Only commits with a smaller seq.")] = None,
) -> None:
    """List commits, newest first."""

    async with session.client() as client:
        answer = await client.get(url("collections", collection, "commits"), limit=limit, before=before)
        tags = (await client.get(url("collections", collection, "tags")))["tags"]
    names: dict[str, list[str]] = {}
    for one in tags:
        names.setdefault(one["commit_id"], []).append(one["name"])
    rows = [
        (
            f"#{one['position']}",
            one["id"][:12],
            one["created_at"],
            _changes(one["stats"]),
            " ".join(["(pruned)"] * (one["pruned_at"] is not None) + sorted(names.get(one["id"], []))),
            one["message"],
        )
        for one in answer["commits"]
    ]
    shown = table(("", "commit", "time", "documents", "tags", "message"), rows) if rows else text(f"{collection} has no commits yet.")
    session.output.result(answer, shown)


async def show(session: Session, reference: Annotated[str, typer.Argument(help=_REF, metavar="REF")], collection: COLLECTION) -> None:
    """Show a commit and what it changed."""

    async with session.client() as client:
        answer = await client.get(url("collections", collection, "commits", reference))
    commit = answer["commit"]
    stats = commit["stats"]
    rows = [
        ("commit", commit["id"]),
        ("position", f"#{commit['position']} (seq {commit['seq']})"),
        ("time", commit["created_at"]),
        ("author", commit["author"]),
        ("message", commit["message"]),
    ]
    if stats is not None:  # else documents are kept from whoever asks
        rows += [
            ("holds", f"{stats['documents']:,} documents, {stats['chunks']:,} chunks"),
            ("embedded", f"{stats['chunks_embedded']:,} chunks, {stats['chunks_reused']:,} with a vector known before"),
        ]
    session.output.result(answer, table(("", ""), rows), *difference_lines(answer))


async def diff(
    session: Session,
    before: Annotated[str, typer.Argument(help=_REF, metavar="A")],
    after: Annotated[str, typer.Argument(help=_REF, metavar="B")],
    collection: COLLECTION,
) -> None:
    """Show what B has otherwise than A: documents, and chunks added, removed and kept."""

    async with session.client() as client:
        answer = await client.get(url("collections", collection, "commits", before, "diff", after))
    session.output.result(answer, *difference_lines(answer))


async def tag(
    session: Session,
    collection: COLLECTION,
    name: Annotated[str | None, typer.Argument(help="Name of the tag; without it, tags are listed.")] = None,
    reference: Annotated[str, typer.Argument(help=_REF, metavar="[REF]")] = "head",
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the tag.")] = False,
) -> None:
    """List tags, or give a commit a name that stays."""

    where = url("collections", collection, "tags")
    async with session.client() as client:
        if name is None:
            if delete:
                raise InvalidInput("--delete: name the tag to remove.", field="delete")
            answer = await client.get(where)
            rows = [(one["name"], one["commit_id"][:12], one["created_at"]) for one in answer["tags"]]
            session.output.result(answer, table(("tag", "commit", "time"), rows) if rows else text("No tags yet."))
        elif delete:
            await client.delete(url("collections", collection, "tags", name))
            session.output.result({"deleted": name}, text(f"Removed the tag {name}."))
        else:
            answer = await client.post(where, {"name": name, "commit": reference})
            session.output.result(answer, text(f"{answer['name']} is commit {answer['commit_id'][:12]}"))


async def rollback(
    session: Session,
    reference: Annotated[str, typer.Argument(help=_REF, metavar="REF")],
    collection: COLLECTION,
    *,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Commit message.")] = None,
    if_match: Annotated[
        str | None, typer.Option(metavar="COMMIT", help="Only if this commit is still the head (7 or more digits).")
    ] = None,
) -> None:
    """Make the documents those of an earlier commit again: a new commit, nothing is embedded."""

    async with session.client() as client:
        body = {"to": reference, "message": message, "wait": False}
        job = (await client.post(url("collections", collection, "rollback"), body, headers=if_match_header(if_match)))["job"]
        job = await follow(client, job, session.output, "Rolling back")
    show_job(session, job)


def difference_lines(answer: Json) -> list[RenderableType]:
    """Documents one a line, then chunks counted."""

    styles = {"added": "green", "changed": "yellow", "removed": "red"}
    lines = [text(f"{_SIGNS[one['kind']]} {one['path']}", styles[one["kind"]]) for one in answer["documents"]]
    added, removed = len(answer["chunks_added"]), len(answer["chunks_removed"])
    kept = "" if answer["chunks_kept"] is None else f", {answer['chunks_kept']:,} kept"
    counts = f"{len(lines):,} documents differ; chunks: {added:,} added, {removed:,} removed{kept}"
    return [*lines, text(counts, "bold")]


def _changes(stats: Json | None) -> str:
    if stats is None:  # documents are kept from whoever asks
        return ""
    return " ".join(f"{_SIGNS[kind]}{stats[f'documents_{kind}']}" for kind in _SIGNS if stats[f"documents_{kind}"])
