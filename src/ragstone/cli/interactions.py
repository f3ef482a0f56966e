"""`ragstone interactions`: questions that were asked, their answers, and what people thought of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.api import Json, url
from ragstone.cli.command import command, new_app
from ragstone.cli.new_file import new_file
from ragstone.cli.output import table, text
from ragstone.cli.progress import bar, size
from ragstone.cli.session import Session
from ragstone.cli.words import commit_name, place
from ragstone.domain.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import RenderableType

_ID = Annotated[str, typer.Argument(help="Interaction, as `ask` names it.", metavar="ID")]
_COLLECTION = Annotated[str | None, typer.Option("--collection", "-c", help="Only those of this collection.")]
_SINCE = Annotated[str | None, typer.Option(metavar="TIME", help="Only those made then (ISO 8601) or later.")]
_UNTIL = Annotated[str | None, typer.Option(metavar="TIME", help="Only those made before then.")]
_ABSTAINED = Annotated[bool | None, typer.Option("--abstained/--answered", help="Only those without, or with, an answer.")]
_TAG = Annotated[str | None, typer.Option(help="Only those with feedback that has this tag.")]
_COMMIT = Annotated[str | None, typer.Option(metavar="ID", help="Only those answered from this commit (its whole id).")]
_RELEASE = Annotated[str | None, typer.Option(metavar="ID", help="Only those of this release (its id).")]
_PATH = Annotated[str | None, typer.Option(help="Only those that used a passage of this document.")]
_BEFORE = Annotated[str | None, typer.Option(metavar="ID", help="Only those stored before this interaction.")]


class Thumb(StrEnum):
    """What feedback says."""

    up = "up"
    down = "down"


class Format(StrEnum):
    """Of an export."""

    jsonl = "jsonl"
    parquet = "parquet"


_THUMB = Annotated[Thumb | None, typer.Option(help="Only those with feedback that says so.")]


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = new_app("List, show, export and replay past questions, and say what you thought of an answer.")
    for name, work in (("list", list_), ("show", show), ("feedback", feedback), ("replay", replay), ("export", export)):
        command(group, name)(work)
    app.add_typer(group, name="interactions")


async def list_(
    session: Session,
    *,
    collection: _COLLECTION = None,
    since: _SINCE = None,
    until: _UNTIL = None,
    abstained: _ABSTAINED = None,
    thumb: _THUMB = None,
    tag: _TAG = None,
    commit: _COMMIT = None,
    release: _RELEASE = None,
    path: _PATH = None,
    before: _BEFORE = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many, newest first.")] = 20,
) -> None:
    """List interactions, newest first."""

    query = _query(collection, since, until, abstained, thumb, tag, commit, release, path, before)
    async with session.client() as client:
        answer = await client.get("/v1/interactions", limit=limit, **query)
    rows = [
        (
            one["id"],
            one["created_at"],
            one["collection"],
            f"#{one['position']}",
            "no answer" if one["answer"]["abstained"] else "",
            one["question"],
        )
        for one in answer["interactions"]
    ]
    nothing = "None is like that." if any(value is not None for value in query.values()) else "Nothing was asked yet."
    shown = table(("interaction", "time", "collection", "commit", "", "question"), rows) if rows else text(nothing)
    session.output.result(answer, shown)


async def show(session: Session, interaction: _ID) -> None:
    """Show one interaction: question, answer, citations, feedback."""

    async with session.client() as client:
        one = await client.get(url("interactions", interaction))
    answer = one["answer"]
    lines = [text(one["question"], "bold"), text(answer["text"]), text()]
    lines += [text(f"[{citation['marker']}] {place(citation)}") for citation in answer["citations"]]
    rows = [
        ("time", one["created_at"]),
        ("commit", f"{one['collection']} {commit_name(one['position'], one['commit_id'])}"),
        ("release", one["release_id"]),
        *((f"model {name}", value) for name, value in one["models"].items()),
        *((f"{name} ms", f"{value:.1f}") for name, value in one["timings"].items()),
        *(("feedback", _said(said)) for said in one["feedback"]),
        *(("not kept" if how == "drop" else "hashed", name) for name, how in one["redacted"].items()),
        *([("purged", "texts of a purged document were taken out")] if one["purged"] else []),
        *(("made without", part) for part in one["degraded"]),
    ]
    session.output.result(one, *lines, table(("", ""), rows))


async def feedback(
    session: Session,
    interaction: _ID,
    *,
    up: Annotated[bool, typer.Option("--up", help="The answer was good.")] = False,
    down: Annotated[bool, typer.Option("--down", help="The answer was bad.")] = False,
    score: Annotated[float | None, typer.Option(help="From 0 to 1.")] = None,
    comment: Annotated[str | None, typer.Option(help="In words.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find it by; repeatable.")] = None,
) -> None:
    """Say what you thought of an answer."""

    if up and down:
        raise InvalidInput("--up and --down: give one of them.", field="thumb")
    body = {"thumb": 1 if up else -1 if down else None, "score": score, "comment": comment, "tags": tag}
    if all(value is None for value in body.values()):
        raise InvalidInput("Give --up, --down, --score, --comment or --tag.", field="feedback")
    async with session.client() as client:
        answer = await client.post(url("interactions", interaction, "feedback"), body)
    session.output.result(answer, text("Thank you, noted."))


async def replay(session: Session, interaction: _ID) -> None:
    """Answer a past question again, from the same passages of the same commit, and show both answers."""

    async with session.client() as client:
        answer = await client.post(url("interactions", interaction, "replay"), {})
    session.output.result(answer, *_replay_lines(answer))


async def export(
    session: Session,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to; never over another file.")],
    format_: Annotated[Format, typer.Option("--format", help="JSON Lines, or Parquet with typed columns.")] = Format.jsonl,
    collection: _COLLECTION = None,
    since: _SINCE = None,
    until: _UNTIL = None,
    abstained: _ABSTAINED = None,
    thumb: _THUMB = None,
    tag: _TAG = None,
    commit: _COMMIT = None,
    release: _RELEASE = None,
    path: _PATH = None,
    before: _BEFORE = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="How many, newest first; without it all.")] = None,
) -> None:
    """Write interactions to a file, newest first."""

    import asyncio  # `ragstone --help` needs it not

    query = _query(collection, since, until, abstained, thumb, tag, commit, release, path, before)
    written = lines = 0
    async with session.client() as client:
        with new_file(output) as file, bar(session.output, "Exporting") as shown:
            async for piece in client.download("GET", "/v1/interactions/export", format=format_.value, limit=limit, **query):
                await asyncio.to_thread(file.write, piece)
                written += len(piece)
                lines += piece.count(b"\n")
                shown.show(written, None, size(written) if format_ is Format.parquet else f"{lines:,} interactions, {size(written)}")
    count = f"{lines:,} interactions, " if format_ is Format.jsonl else ""
    result = {"file": str(output), "format": format_.value, "bytes": written} | ({"interactions": lines} if count else {})
    session.output.result(result, text(f"Exported {count}{size(written)} to {output}."))


def _query(
    collection: str | None,
    since: str | None,
    until: str | None,
    abstained: bool | None,
    thumb: Thumb | None,
    tag: str | None,
    commit: str | None,
    release: str | None,
    path: str | None,
    before: str | None,
) -> dict[str, Any]:
    return {
        "collection": collection,
        "since": since,
        "until": until,
        "abstained": None if abstained is None else str(abstained).lower(),
        "thumb": thumb.value if thumb else None,
        "tag": tag,
        "commit": commit,
        "release": release,
        "path": path,
        "before": before,
    }


def _replay_lines(answer: Json) -> list[RenderableType]:
    then, now = answer["then"], answer["now"]
    release = "the same release" if answer["same_release"] else f"release then {then['release_id']}, now {now['release']['id']}"
    compared = answer["passages"]
    passages = f"{compared['count']:,} passages, " + (
        "identical" if compared["identical"] else f"{len(compared['differing']):,} of them differ"
    )
    retrieval = answer["retrieval"]
    again = {True: "finds the same again", False: "finds others now", None: f"was not searched again: {retrieval['note']}"}[
        retrieval["identical"]
    ]
    lines = [
        text(answer["question"], "bold"),
        table(
            ("then", "now"), [(then["answer"]["text"], now["answer"]["text"]), (then["models"]["generator"], now["models"]["generator"])]
        ),
        text(),
    ]
    styles = {"+": "green", "-": "red"}
    lines += [text(line, styles.get(line[:1], "dim")) for line in (answer["diff"] or "").splitlines()[2:]]
    for sign, kind in (("+", "added"), ("-", "removed")):
        lines += [text(f"{sign} cites {place(citation)}", styles[sign]) for citation in answer["citations"][kind]]
    if answer["diff"] == "":
        lines.append(text("The same answer."))
    where = f"{answer['collection']} {commit_name(answer['position'], answer['commit_id'])}"
    lines.append(text(f"{where}: {passages}; the question {again}; {release}; new interaction {answer['id']}", "dim"))
    return lines


def _said(said: dict[str, object]) -> str:
    thumb = {1: "up", -1: "down"}.get(said.get("thumb"))  # type: ignore[call-overload]  # None is looked up too
    tags = said.get("tags")
    parts = [thumb, said.get("score"), said.get("comment"), " ".join(map(str, tags)) if isinstance(tags, list) else None]
    return ", ".join(str(part) for part in parts if part not in (None, ""))
