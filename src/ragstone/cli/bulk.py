"""`ragstone bulk-shard`: one shard of bulk work. Runners of bulk work call it; people have no need to."""

from __future__ import annotations

import os
import threading
from typing import Annotated

import typer

from ragstone.cli.command import command
from ragstone.cli.output import text
from ragstone.cli.session import Session
from ragstone.domain.errors import InvalidInput, NotFound

_INDEX = "JOB_COMPLETION_INDEX"  # of a pod of an Indexed Job


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "bulk-shard", hidden=True)(shard)


async def shard(
    session: Session,
    run: Annotated[str, typer.Argument(help="Id of the bulk work.")],
    number: Annotated[int | None, typer.Argument(min=0, help=f"Of the shard; without it that of {_INDEX}.")] = None,
    *,
    nice: Annotated[int, typer.Option(min=0, max=19, help="How much other processes come first.")] = 0,
    while_stdin: Annotated[
        bool, typer.Option("--while-stdin", help="End when standard input does: with the process that started this.")
    ] = False,
) -> None:
    """Embed what waits for one shard of bulk work, and stage the vectors. Started again it goes on."""
    from ragstone.bootstrap.bulk import run_shard

    if number is None:
        index = os.environ.get(_INDEX, "")
        if not (index.isascii() and index.isdecimal()):
            raise InvalidInput(f"number: give the shard's number, or set {_INDEX}.", field="number")
        number = int(index)
    if while_stdin:
        threading.Thread(target=_until_stdin_ends, daemon=True).start()
    os.nice(nice)
    try:
        embedded = await run_shard(session.settings, run, number)
    except NotFound:  # it is over: nothing is left to do
        embedded = 0
    session.output.result({"run": run, "shard": number, "embedded": embedded}, text(f"Shard {number}: {embedded} texts embedded."))


def _until_stdin_ends() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)  # nothing is lost but the part that it is at
