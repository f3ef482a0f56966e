"""`ragstone acl`: which groups may see which documents."""

from __future__ import annotations

from typing import Annotated

import typer

from ragstone.cli.api import Json, url
from ragstone.cli.command import command, new_app
from ragstone.cli.ingest import COLLECTION
from ragstone.cli.output import table, text
from ragstone.cli.session import Session

PATH = Annotated[str, typer.Argument(help="Path of a document, also of one that is yet to come.")]


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = new_app("Which groups may see which documents.")
    command(group, "list")(list_)
    command(group, "get")(get)
    command(group, "set")(set_)
    command(group, "remove")(remove)
    app.add_typer(group, name="acl")


async def list_(
    session: Session,
    collection: COLLECTION,
    *,
    prefix: Annotated[str, typer.Option(help="Only paths that begin so.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", help="Documents to show.")] = 100,
    after: Annotated[str | None, typer.Option(help="Only paths after this one.")] = None,
) -> None:
    """List the documents that not everyone may see who may read the collection."""
    async with session.client() as client:
        answer = await client.get(url("collections", collection, "acls"), prefix=prefix or None, after=after, limit=limit)
    rows = [(one["path"], ", ".join(one["groups"])) for one in answer["acls"]]
    session.output.result(answer, table(("path", "groups"), rows) if rows else text("Every document is open to everyone who may read."))


async def get(session: Session, path: PATH, collection: COLLECTION) -> None:
    """Show the groups of a document; an error for one that is open."""
    async with session.client() as client:
        _show(session, await client.get(url("collections", collection, "acls", path)))


async def set_(
    session: Session,
    path: PATH,
    groups: Annotated[list[str], typer.Argument(help="Who may see it, beside the collection's admins.", metavar="GROUPS...")],
    collection: COLLECTION,
) -> None:
    """Let only these groups see a document: at once, and in every commit."""
    async with session.client() as client:
        _show(session, await client.put(url("collections", collection, "acls", path), {"groups": groups}))


async def remove(session: Session, path: PATH, collection: COLLECTION) -> None:
    """Open a document to everyone who may read the collection."""
    async with session.client() as client:
        await client.delete(url("collections", collection, "acls", path))
    session.output.result({"path": path, "groups": []}, text(f"{path} is open to everyone who may read {collection}."))


def _show(session: Session, answer: Json) -> None:
    session.output.result(answer, text(f"{answer['path']}: {', '.join(answer['groups'])}"))
