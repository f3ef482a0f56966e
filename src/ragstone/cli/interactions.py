"""`ragstone interactions`: questions that were asked, their answers, and what people thought of them."""

from __future__ import annotations

from typing import Annotated

import typer

from ragstone.cli.api import url
from ragstone.cli.command import command, new_app
from ragstone.cli.output import table, text
from ragstone.cli.session import Session
from ragstone.cli.words import commit_name, place
from ragstone.domain.errors import InvalidInput

_ID = Annotated[str, typer.Argument(help="Interaction, as `ask` names it.", metavar="ID")]


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = new_app("List and show past questions, and say what you thought of an answer.")
    for name, work in (("list", list_), ("show", show), ("feedback", feedback)):
        command(group, name)(work)
    app.add_typer(group, name="interactions")


async def list_(
    session: Session,
    *,
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Only those of this collection.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many, newest first.")] = 20,
) -> None:
    """List interactions, newest first."""

    async with session.client() as client:
        answer = await client.get("/v1/interactions", collection=collection, limit=limit)
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
    shown = table(("interaction", "time", "collection", "commit", "", "question"), rows) if rows else text("Nothing was asked yet.")
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


def _said(said: dict[str, object]) -> str:
    thumb = {1: "up", -1: "down"}.get(said.get("thumb"))  # type: ignore[call-overload]  # None is looked up too
    tags = said.get("tags")
    parts = [thumb, said.get("score"), said.get("comment"), " ".join(map(str, tags)) if isinstance(tags, list) else None]
    return ", ".join(str(part) for part in parts if part not in (None, ""))
