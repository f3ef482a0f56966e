"""The command `ragstone`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from ragstone.cli import (
    acl,
    ask,
    audit,
    backup,
    bulk,
    cluster_backup,
    collections,
    config,
    dead_letters,
    demo,
    doctor,
    documents,
    history,
    impact,
    ingest,
    interactions,
    jobs,
    keys,
    migrate,
    models,
    reembed,
    retention,
    serve_embedding,
    serve_generation,
    up,
    worker,
)
from ragstone.cli.command import new_app
from ragstone.cli.output import Output
from ragstone.cli.session import Flags

GROUPS = (
    up,
    worker,
    serve_embedding,
    serve_generation,
    bulk,
    ingest,
    ask,
    collections,
    documents,
    history,
    retention,
    reembed,
    jobs,
    dead_letters,
    interactions,
    impact,
    models,
    backup,
    cluster_backup,
    audit,
    doctor,
    migrate,
    keys,
    acl,
    config,
    demo,
)


def build() -> typer.Typer:
    """The application with every command."""
    app = new_app("Retrieval-augmented generation over a knowledge base that is versioned like code.")

    def common(
        ctx: typer.Context,
        *,
        data_dir: Annotated[Path | None, typer.Option(help="Data directory to open or find.")] = None,
        server: Annotated[str | None, typer.Option(metavar="URL", help="Talk to this server (or RAGSTONE_SERVER).")] = None,
        model: Annotated[str | None, typer.Option(help="Embedding model: preset or path.")] = None,
        json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")] = False,
        version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)] = False,
    ) -> None:
        ctx.obj = Flags(data_dir, server, model, json, quiet)

    app.callback()(common)
    for group in GROUPS:
        group.add_to(app)
    return app


def main() -> None:
    """Entry point."""
    # SIGTERM is Ctrl-C. Left alone it would end a command without a clean-up, and do nothing at all to a container's first process.
    # A shell starts what it puts into the background with SIGINT ignored; then that would be lost.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    # NumPy's library would start a thread for each core of the machine, whatever the container's CPU limit; batches run beside one another instead.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that can't show a letter is no reason to stop
    app = build()
    if "--json" not in sys.argv:
        app()
        return
    try:
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as error:  # a wrong option or argument
        Output(json_mode=True).problem(
            {"type": "urn:ragstone:problem:usage", "title": "Usage", "status": 422, "detail": error.format_message()}
        )
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        from ragstone import __version__

        sys.stdout.write(f"ragstone {__version__}\n")
        raise typer.Exit


if __name__ == "__main__":
    main()
