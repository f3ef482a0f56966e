"""`ragstone reembed`: another embedding model or chunker for a collection, built beside the one that is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli.api import Json, ProblemError, url
from ragstone.cli.command import command, new_app
from ragstone.cli.following import follow
from ragstone.cli.ingest import COLLECTION
from ragstone.cli.output import table, text
from ragstone.cli.progress import bar, duration
from ragstone.cli.session import Session
from ragstone.cli.words import commit_name
from ragstone.domain.errors import Conflict, NotFound

if TYPE_CHECKING:
    from ragstone.cli.client import Client

_LOOK = 0.5  # seconds between looks at a build
_SPACE = Annotated[str | None, typer.Option("--space", help="Id of the space, or 4 or more of its digits; not needed where there is one.")]


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = new_app("Build another embedding space for a collection, switch to it, or give it up.")
    for name, work in (("start", start), ("status", status), ("switch", switch), ("abort", abort), ("drop", drop)):
        command(group, name)(work)
    app.add_typer(group, name="reembed")


async def start(
    session: Session,
    collection: COLLECTION,
    *,
    to_model: Annotated[str | None, typer.Option(help="Name or digest of a model that is loaded (see further_models).")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of a chunk, in the model's tokens.")] = None,
    min_tokens: Annotated[int | None, typer.Option(min=0, help="Of a chunk; shorter ones are joined.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Shards that embed at once, where bulk work has a runner (see bulk.kind); else as many as it says."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until the space is ready.")] = True,
) -> None:
    """Build a space in the background; asked for again it goes on. Reads stay where they are until `ragstone reembed switch`."""

    async with session.client() as client:
        body = {"model": to_model, "max_tokens": max_tokens, "min_tokens": min_tokens, "workers": workers}
        space = (await client.post(url("collections", collection, "spaces"), body))["space"]
        if wait:
            space = await _followed(session, client, collection, space)
    ready = space["state"] == "ready"
    job = "" if ready else f" `ragstone jobs {space['build']['job_id']} -f` follows it."
    session.output.result(space, text(f"Space {space['id']}: {_describe(space)}.{job}", "bold" if ready else ""))
    if ready:
        session.output.note(f"Questions go on using the old one until `ragstone reembed switch -c {collection}`.")


async def status(session: Session, collection: COLLECTION) -> None:
    """Show every space of a collection, the live one first."""

    async with session.client() as client:
        answer = await client.get(url("collections", collection, "spaces"))
    rows = [(one["id"], _model(one), one["state"], _describe(one), "" if one["model_loaded"] else "not loaded") for one in answer["spaces"]]
    session.output.result(answer, table(("space", "model", "state", "", ""), rows))


async def switch(session: Session, collection: COLLECTION, *, space: _SPACE = None) -> None:
    """Read from a space that is ready. A commit of the same documents; the way back is the same."""

    async with session.client() as client:
        chosen = space or _one(await _spaces(client, collection), ("ready",), "ready")
        job = (await client.post(url("collections", collection, "spaces", chosen, "switch"), {"wait": False}))["job"]
        job = await follow(client, job, session.output, "Switching")
    result = job["result"]
    name = commit_name(result["position"], result["commit_id"])
    session.output.result(job, text(f"Reads go to the space {'already' if job['state'] == 'unchanged' else 'now'}: {name}.", "bold"))


async def abort(session: Session, collection: COLLECTION) -> None:
    """Give up the space that is being built, or that was built and is not read. Nothing is left of it."""

    async with session.client() as client:
        spaces = await _spaces(client, collection)
        building = [one for one in spaces if one["state"] in ("preparing", "filling")]
        chosen = building[0]["id"] if building else _one(spaces, ("ready",), "being built")
        gone = (await client.delete(url("collections", collection, "spaces", chosen)))["space"]
    session.output.result(gone, text(f"Space {gone['id']} is given up; its index is being deleted."))


async def drop(
    session: Session,
    collection: COLLECTION,
    *,
    space: _SPACE = None,
    force: Annotated[bool, typer.Option("--force", help="Even if kept commits are read from it; they can't be searched any more.")] = False,
) -> None:
    """Drop a space that is read no more: by no kept commit, or left long enough ago (spaces.keep_days). Its index is deleted after a grace period."""

    async with session.client() as client:
        chosen = space or _one(await _spaces(client, collection), ("old", "ready"), "old")
        gone = (await client.delete(url("collections", collection, "spaces", chosen) + ("?force=true" if force else "")))["space"]
    session.output.result(gone, text(f"Space {gone['id']} is dropped; its index is being deleted."))


async def _followed(session: Session, client: Client, collection: str, space: Json) -> Json:
    """The space when it is ready. Raises `ProblemError` when it is given up meanwhile."""
    with bar(session.output, "Re-embedding") as shown:
        import asyncio  # `ragstone --help` needs it not

        while space["state"] in ("preparing", "filling"):
            build = space["build"]
            shown.show(build["documents"], build["documents_total"] or None, _describe(space))
            await asyncio.sleep(_LOOK)
            fresh = [one for one in await _spaces(client, collection) if one["build"] and one["build"]["id"] == build["id"]]
            if not fresh or fresh[0]["state"] == "dropped":
                raise ProblemError.of(NotFound(f"Space {space['id']} was given up meanwhile.", field="space"))
            space = fresh[0]
    return space


async def _spaces(client: Client, collection: str) -> list[Json]:
    spaces: list[Json] = (await client.get(url("collections", collection, "spaces")))["spaces"]
    return spaces


def _one(spaces: list[Json], states: tuple[str, ...], what: str) -> str:
    fitting: list[str] = [one["id"] for one in spaces if one["state"] in states]
    if not fitting:
        raise NotFound(f"No space is {what}; `ragstone reembed status` shows them.", field="space")
    if len(fitting) > 1:
        raise Conflict(f"Several spaces are {what} ({', '.join(fitting)}); choose one with --space.", field="space")
    return fitting[0]


def _model(space: Json) -> str:
    return str(space["space"]["model"]["name"])


def _describe(space: Json) -> str:
    """State, counts, rate and time left on one line, as `describe` of jobs."""
    build = space["build"]
    if build is None:
        return ""
    parts = [str(space["state"]), f"{build['documents']:,}/{build['documents_total']:,} documents"]
    if build["shards"]:
        done, total = (sum(shard[key] for shard in build["shards"]) for key in ("done", "total"))
        rate = sum(shard["rate"] for shard in build["shards"])
        parts.append(f"{len(build['shards'])} shards {done:,}/{total:,} at {rate:,.0f}/s")
    if build["rate"]:
        parts.append(f"{build['rate']:,.0f}/s")
    if build["seconds_left"]:
        parts.append(f"{duration(build['seconds_left'])} left")
    parts.append(f"{build['embedded']:,} chunks embedded, {build['reused']:,} reused")
    return ", ".join(parts)
