"""`ragstone demo`: two versions of a handbook, three questions, and one of them asked again of the past."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.api import Json, ProblemError, url
from ragstone.cli.ask import answer_lines
from ragstone.cli.command import command
from ragstone.cli.history import difference_lines
from ragstone.cli.loading import LoadOptions, documents, load
from ragstone.cli.output import text
from ragstone.cli.progress import duration
from ragstone.cli.scan import Scan, ScanOptions, scan
from ragstone.cli.session import Session
from ragstone.cli.words import commit_name
from ragstone.domain.errors import InvalidInput

if TYPE_CHECKING:
    from ragstone.cli.client import Client

NAME = "handbook"
VERSIONS = ("v1", "v2")
DIRECTORY = Path(".ragstone-demo")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "demo")(demo)


async def demo(
    session: Session,
    *,
    examples: Annotated[Path, typer.Option(help="Directory with v1/, v2/ and questions.json.")] = Path("examples/handbook"),
) -> None:
    """First look: ingest two versions of a handbook, ask, and travel in time. Keeps its data in .ragstone-demo."""
    from ragstone.cli.connection import connect
    from ragstone.settings.load import load_settings

    questions = _questions(examples)
    directory = session.flags.data_dir or DIRECTORY
    settings = load_settings(data_dir=directory, model=session.flags.model)
    show = Show(session)
    show.say(f"The data directory of this demo is {directory}; it is kept.")
    async with show.step("Opening it and loading the model") as step, connect(settings, None, session.output) as client:
        step()
        commits = await _two_versions(show, client, examples)
        asked = [await _ask(show, client, entry["question"]) for entry in questions]
        past = await _travel(show, client, next(entry["question"] for entry in questions if entry.get("as_of")))
        changed = await _difference(show, client)
        show.say(_how_to_go_on(directory, f"http://{settings.host}:{settings.port}", commits))
    document = {
        "data_directory": str(directory),
        "commits": commits,
        "questions": asked,
        "as_of": past,
        "diff": changed,
        "seconds": show.seconds,
    }
    session.output.result(document)


class Show:
    """Tells the story on stdout, and how long each step took."""

    def __init__(self, session: Session) -> None:
        self._output = session.output
        self.seconds: dict[str, float] = {}

    def say(self, *parts: Any) -> None:
        """Text or something to print; with --json nothing, the result has it all."""

        if not self._output.json_mode:
            for part in parts:
                self._output.print(text(part) if isinstance(part, str) else part)

    @property
    def output(self) -> Any:
        """For progress."""
        return self._output

    @asynccontextmanager
    async def step(self, title: str) -> AsyncIterator[Any]:
        """A heading; the time is told when the step is over, at the latest at the end of the block."""

        began = time.monotonic()
        self.say("", text(f"== {title}", "bold"))

        def done() -> None:
            if title not in self.seconds:
                self.seconds[title] = round(time.monotonic() - began, 3)
                self.say(text(f"   {duration(self.seconds[title])}", "dim"))

        yield done
        done()


def _questions(examples: Path) -> list[Json]:

    try:
        return list(json.loads((examples / "questions.json").read_text("utf-8"))["demo"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidInput(
            f"{examples} has no questions.json of the demo; run it from the repository, or name its examples/handbook with --examples.",
            field="examples",
        ) from None


async def _two_versions(show: Show, client: Client, examples: Path) -> dict[str, Json]:
    """Both versions as commits with tags; those of an earlier run are used again unless the files have changed since."""

    found = {version: scan([examples / version], ScanOptions()) for version in VERSIONS}
    try:
        tags = {tag["name"]: tag["commit_id"] for tag in (await client.get(url("collections", NAME, "tags")))["tags"]}
        as_before = all([version in tags and await _holds(client, version, found[version]) for version in VERSIONS])
        if not as_before:
            await client.delete(url("collections", NAME))
    except ProblemError as error:
        if error.status != 404:
            raise
        as_before = False
    return {version: await _version(show, client, version, found[version], as_before=as_before) for version in VERSIONS}


async def _holds(client: Client, tag: str, found: Scan) -> bool:

    there = {info["path"]: info["checksum"] async for info in documents(client, NAME, tag)}
    return there == {document.path: document.checksum for document in found.documents}


async def _version(show: Show, client: Client, version: str, found: Scan, *, as_before: bool) -> Json:

    async with show.step(f"Ingesting the handbook, {version}: {len(found.documents)} documents, one commit"):
        if as_before:
            commit: Json = (await client.get(url("collections", NAME, "commits", version)))["commit"]
            show.say(f"Unchanged since an earlier run: {commit_name(commit['position'], commit['id'])}, nothing embedded.")
            return commit
        limits = (await client.get("/v1/info"))["limits"]
        options = LoadOptions(NAME, mirror=True, strict=True, message=f"Handbook {version}")
        result = (await load(client, found, options, limits, show.output)).jobs[-1]["result"]
        await client.post(url("collections", NAME, "tags"), {"name": version, "commit": result["commit_id"]})
        stats = result["stats"]
        counts = ", ".join(f"{stats[f'documents_{kind}']} {kind}" for kind in ("added", "changed", "removed"))
        known = stats["chunks_kept"] + stats["chunks_reused"]
        show.say(
            f"{commit_name(result['position'], result['commit_id'])}, tagged {version}. Documents: {counts}. "
            f"Chunks: {stats['chunks_embedded']} embedded, {known} known already."
        )
        return {"id": result["commit_id"], "position": result["position"], "stats": stats}


async def _ask(show: Show, client: Client, question: str) -> Json:

    async with show.step(question):
        response = await client.post("/query", {"collection": NAME, "question": question})
        show.say(*answer_lines(response))
    return response


async def _travel(show: Show, client: Client, question: str) -> Json:
    from rich.table import Table

    async with show.step(f"The same question, as of {VERSIONS[0]}: {question}"):
        both = [await client.post("/query", {"collection": NAME, "question": question, "as_of": version}) for version in VERSIONS]
        grid = Table(width=80, box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for version, response in zip(VERSIONS, both, strict=True):
            snapshot = response["snapshot"]
            grid.add_column(f"{version}, {commit_name(snapshot['position'], snapshot['commit_id'])}", ratio=1)
        grid.add_row(*(text(response["answer"]["text"]) for response in both))
        grid.add_row(*(text(", ".join(sorted({one["path"] for one in response["answer"]["citations"]})), "dim") for response in both))
        show.say(grid)
    return dict(zip(VERSIONS, both, strict=True))


async def _difference(show: Show, client: Client) -> Json:

    async with show.step(f"What changed: ragstone diff {' '.join(VERSIONS)} -c {NAME}"):
        answer = await client.get(url("collections", NAME, "commits", VERSIONS[0], "diff", VERSIONS[1]))
        show.say(*difference_lines(answer))
    return answer


def _program() -> str:
    """How this program is called from here."""
    return "ragstone" if shutil.which("ragstone") else os.path.relpath(sys.argv[0])


def _how_to_go_on(directory: Path, address: str, commits: dict[str, Json]) -> str:
    last = commits[VERSIONS[-1]]["position"]
    at = f"{_program()} --data-dir {directory}"
    return (
        f"\nHow to go on ({last} commits are there to play with):\n"
        f"  {at} ask 'How often is a fire drill held?' -c {NAME}\n"
        f"  {at} ingest DIRECTORY -c NAME\n"
        f"  {at} up\n"
        f"The last one serves the API on {address}; its documentation is the page {address}/docs."
    )
