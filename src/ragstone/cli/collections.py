"""`ragstone collections`: the knowledge bases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli.api import Json, url
from ragstone.cli.command import command, new_app
from ragstone.cli.output import table, text
from ragstone.cli.session import Session
from ragstone.cli.words import commit_name
from ragstone.domain.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import RenderableType


NAME = Annotated[str, typer.Argument(help="Name of the collection.")]


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = new_app("List, make, show and delete collections.")
    for name, work in (("list", list_), ("create", create), ("show", show), ("delete", delete)):
        command(group, name)(work)
    app.add_typer(group, name="collections")


async def list_(session: Session) -> None:
    """List the collections."""

    async with session.client() as client:
        answer = await client.get("/v1/collections")
    rows = [
        (one["name"], _head(one), one["documents"], one["chunks"], one["language"], one["description"]) for one in answer["collections"]
    ]
    columns = ("name", "head", "documents", "chunks", "language", "description")
    shown = (
        table(columns, rows, right=("documents", "chunks"))
        if rows
        else text("No collections yet; `ragstone ingest PATH -c NAME` makes one.")
    )
    session.output.result(answer, shown)


async def create(
    session: Session,
    name: NAME,
    *,
    language: Annotated[str, typer.Option(help="For BM25: stemming and stop words.")] = "english",
    description: Annotated[str, typer.Option(help="A sentence on what it holds.")] = "",
) -> None:
    """Make an empty collection."""
    async with session.client() as client:
        answer = await client.post("/v1/collections", {"name": name, "language": language, "description": description})
    session.output.result(answer, *_lines(answer))


async def show(session: Session, name: NAME) -> None:
    """Show one collection."""

    async with session.client() as client:
        answer = await client.get(url("collections", name))
    session.output.result(answer, *_lines(answer))


async def delete(
    session: Session, name: NAME, *, yes: Annotated[bool, typer.Option("--yes", help="Really delete it, with its whole history.")] = False
) -> None:
    """Delete a collection with its whole history."""

    if not yes:
        raise InvalidInput(f"This deletes {name!r} with its whole history and can't be undone; give --yes to do it.", field="yes")
    async with session.client() as client:
        await client.delete(url("collections", name))
    session.output.result({"deleted": name}, text(f"Deleted {name}."))


def _head(collection: Json) -> str:

    head = collection["head"]
    return commit_name(head["position"], head["id"]) if head else "empty"


def _lines(collection: Json) -> list[RenderableType]:

    rows = [
        ("name", collection["name"]),
        ("head", _head(collection)),
        *((what, f"{collection[what]:,}") for what in ("documents", "chunks") if collection[what] is not None),  # None: some are kept back
        ("language", collection["language"]),
        ("description", collection["description"]),
        ("created", collection["created_at"]),
        *(("space", _space(space)) for space in collection["spaces"]),
    ]
    return [table(("", ""), rows)]


def _space(space: Json | str) -> str:
    if isinstance(space, str):
        return space
    model = space.get("model") or {}
    name = model.get("name") if isinstance(model, dict) else model
    return " ".join(str(part) for part in (space.get("id"), name) if part)
