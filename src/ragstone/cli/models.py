"""`ragstone models`: the embedding models on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from ragstone.cli import registered_models
from ragstone.cli.command import command, new_app
from ragstone.cli.output import table, text
from ragstone.cli.progress import size
from ragstone.cli.session import Session

_NAME = Annotated[str | None, typer.Argument(help="A preset, see `ragstone models list`; without it, the model of the settings.")]


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = new_app("List, fetch and check embedding models; register versions of models and move aliases over them.")
    for name, work in (("list", list_), ("pull", pull), ("verify", verify), ("probe", probe_)):
        command(group, name)(work)
    registered_models.add_to(group)
    app.add_typer(group, name="models")


async def list_(session: Session) -> None:
    """List the models known by name, and which are here."""
    from ragstone.bootstrap.models import model_store

    entries = model_store(session.settings).list()
    document = {
        "models": [
            {
                "name": entry.name,
                "installed": entry.installed,
                "repository": entry.repository,
                "revision": entry.revision,
                "licence": entry.licence,
                "description": entry.description,
                "source": entry.source,
                "size": entry.size,
                "digest": entry.digest,
                "path": str(entry.path) if entry.path else None,
            }
            for entry in entries
        ]
    }
    rows = [
        (
            entry.name,
            f"{size(entry.size)}, {(entry.digest or '')[:12]}" if entry.installed else "not here",
            entry.licence,
            entry.description,
        )
        for entry in entries
    ]
    session.output.result(document, table(("model", "here", "licence", "description"), rows))


async def pull(
    session: Session,
    name: _NAME = None,
    *,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Build nothing of it: for a process that needs its tokenizer, and embeds on a server.")
    ] = False,
) -> None:
    """Fetch a model, unless it is here; its digest is checked, and what is built from it once is built. Also models:/NAME@ALIAS and models:/NAME/VERSION."""
    import asyncio

    from ragstone.bootstrap.models import prepare_model
    from ragstone.cli.pull import pull as fetch
    from ragstone.domain.registered_models import is_reference

    name = name or session.settings.model
    if is_reference(name):
        await registered_models.pull(session, name)
        return
    entry = await fetch(session.settings, name, session.output)
    if not files_only:
        await asyncio.to_thread(prepare_model, session.settings, entry)
    document = {"name": entry.name, "source": entry.source, "size": entry.size, "digest": entry.digest, "path": str(entry.path)}
    session.output.result(document, text(f"{entry.name} is here, from {entry.source}; SHA-256 {entry.digest}"))


async def verify(session: Session, name: _NAME = None) -> None:
    """Check every file of a model against its digest."""
    from ragstone.bootstrap.models import model_store

    report = model_store(session.settings).verify(name or session.settings.model)
    files = [{"path": file.path, "expected": file.expected, "found": file.found, "ok": file.ok} for file in report.files]
    rows = [(file.path, "ok" if file.ok else "missing" if file.found is None else "WRONG", file.found or "") for file in report.files]
    verdict = (
        "every file is the expected one" if report.ok else "not every file is the expected one; `ragstone models pull` fetches it anew"
    )
    shown = (table(("file", "", "SHA-256"), rows), text(f"{report.name}: {verdict}"))
    session.output.result({"name": report.name, "ok": report.ok, "files": files}, *shown)
    if not report.ok:
        raise typer.Exit(1)


async def probe_(session: Session) -> None:
    """Print the fingerprint of the model behind the embedding server of the settings, for embedder.probe."""
    from ragstone.bootstrap.models import probe

    settings = session.settings
    dimension, found = await probe(settings)
    document = {"model": getattr(settings.embedder, "model", settings.model), "dimension": dimension, "probe": found}
    session.output.result(document, text(found))
