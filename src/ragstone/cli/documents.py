"""`ragstone documents`, `delete` and `move`."""

from __future__ import annotations

import sys
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from ragstone.cli.api import Json, url
from ragstone.cli.ask import AS_OF
from ragstone.cli.command import command, new_app
from ragstone.cli.following import follow
from ragstone.cli.ingest import COLLECTION, IF_MATCH
from ragstone.cli.loading import author, documents
from ragstone.cli.output import clean, table, text
from ragstone.cli.progress import size
from ragstone.cli.session import Session
from ragstone.cli.values import if_match_header
from ragstone.cli.words import commit_name, place

_MESSAGE = Annotated[str, typer.Option("--message", "-m", help="Commit message.")]
_PATH = Annotated[str, typer.Argument(help="Path of the document.")]


class Form(StrEnum):
    """What of a document is printed."""

    original = "original"
    text = "text"
    chunks = "chunks"


def add_to(app: typer.Typer) -> None:
    """Registers the group and the two commands."""
    group = new_app("List and read documents, now or as of a commit.")
    command(group, "list")(list_)
    command(group, "show")(show)
    command(group, "cat")(cat)
    app.add_typer(group, name="documents")
    command(app, "delete")(delete)
    command(app, "move")(move)


async def list_(
    session: Session,
    collection: COLLECTION,
    *,
    prefix: Annotated[str, typer.Option(help="Only paths that begin with this.")] = "",
    as_of: AS_OF = None,
) -> None:
    """List documents. With --json: one a line."""

    async with session.client() as client:
        infos = [info async for info in documents(client, collection, as_of, prefix)]
    if session.output.json_mode:
        for info in infos:
            session.output.line(info)
        return
    rows = [(info["path"], info["media_type"], size(info["size"]), info["checksum"][:12], info["title"]) for info in infos]
    session.output.print(table(("path", "type", "size", "checksum", "title"), rows, right=("size",)))


async def show(session: Session, path: _PATH, collection: COLLECTION, *, as_of: AS_OF = None) -> None:
    """Show what is known of a document, and the beginning of its text."""

    async with session.client() as client:
        document = await client.get(url("collections", collection, "documents", path), as_of=as_of)
    snapshot = document["snapshot"]
    rows = [
        ("path", document["path"]),
        ("title", document["title"]),
        ("type", document["media_type"]),
        ("size", size(document["size"])),
        ("checksum", document["checksum"]),
        ("parser", document.get("parser")),
        *((f"metadata {key}", value) for key, value in document["metadata"].items()),
        ("commit", commit_name(snapshot["position"], snapshot["commit_id"])),
    ]
    beginning = "\n".join(islice(str(document.get("text") or "").splitlines(), 10))
    session.output.result(document, table(("", ""), rows), text(), text(beginning, "dim"))


async def cat(
    session: Session,
    path: _PATH,
    collection: COLLECTION,
    *,
    form: Annotated[Form, typer.Option(help="The bytes as ingested, the extracted text, or the chunks.")] = Form.original,
    as_of: AS_OF = None,
) -> None:
    """Print a document. The original goes out byte for byte, except to a terminal."""

    where = url("collections", collection, "documents", path)
    output = session.output
    async with session.client() as client:
        if form is Form.chunks:
            answer = await client.get(where, as_of=as_of, form=form.value)
            lines = [text(f"{place(chunk)}\n{chunk['text']}\n") for chunk in answer["chunks"]]
            output.result(answer, *lines)
            return
        content = await client.content(where, as_of=as_of, form=form.value)
    if output.json_mode:
        output.result({"path": path, "form": form.value, "content": content.decode("utf-8", "replace")})
    elif sys.stdout.isatty():
        output.raw(clean(content.decode("utf-8", "replace")))
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()


async def delete(
    session: Session,
    collection: COLLECTION,
    paths: Annotated[list[str] | None, typer.Argument(help="Document paths.", metavar="PATHS...")] = None,
    *,
    prefix: Annotated[list[str] | None, typer.Option(help="Every document whose path begins with this; repeatable.")] = None,
    message: _MESSAGE = "",
    if_match: IF_MATCH = None,
) -> None:
    """Delete documents: one commit. Earlier commits keep them."""
    change = {"deletes": [*(paths or ()), *({"prefix": one} for one in prefix or ())], "message": message}
    await _change(session, collection, change, if_match)


async def move(
    session: Session,
    source: Annotated[str, typer.Argument(help="Path it has.")],
    target: Annotated[str, typer.Argument(help="Path it gets.")],
    collection: COLLECTION,
    *,
    message: _MESSAGE = "",
    if_match: IF_MATCH = None,
) -> None:
    """Give a document another path; nothing is embedded."""
    await _change(session, collection, {"moves": [{"source": source, "target": target}], "message": message}, if_match)


async def _change(session: Session, collection: str, change: Json, if_match: str | None) -> None:

    async with session.client() as client:
        body = {"collection": collection, "strict": True, "author": author(), "wait": False, **change}
        accepted = await client.post("/ingest", body, headers=if_match_header(if_match))
        job = await follow(client, accepted["job"], session.output, "Changing")
    show_job(session, job)


def show_job(session: Session, job: Json) -> None:
    """What a finished job did, on one line."""

    result = job["result"]
    stats = result["stats"]
    counts = ", ".join(
        f"{stats[f'documents_{kind}']:,} {kind}" for kind in ("added", "changed", "removed") if stats.get(f"documents_{kind}")
    )
    embedded = (
        f"; {stats['chunks_embedded']:,} chunks embedded, {stats['chunks_reused']:,} reused"
        if stats.get("chunks_embedded") is not None
        else ""
    )
    commit = commit_name(result["position"], result["commit_id"])
    did = f"; documents: {counts or 'as they were'}{embedded}" if result["outcome"] == "published" else ""
    session.output.result(job, text(f"{job['collection']}: {result['outcome']}, head is {commit}{did}"))
