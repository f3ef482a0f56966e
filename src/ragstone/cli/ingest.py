"""`ragstone ingest`: files and directories become documents of a collection."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ragstone.cli.command import command
from ragstone.cli.loading import Comparison, Loaded, LoadOptions, load, plan
from ragstone.cli.output import table, text
from ragstone.cli.progress import duration
from ragstone.cli.scan import Scan, ScanOptions, scan
from ragstone.cli.session import Session
from ragstone.cli.values import pairs
from ragstone.cli.words import commit_name
from ragstone.domain.errors import InvalidInput
from ragstone.domain.names import check_collection_name

COLLECTION = Annotated[str, typer.Option("--collection", "-c", help="Name of the collection.")]
IF_MATCH = Annotated[
    str | None, typer.Option(metavar="COMMIT", help="Only if nothing that this touches has changed since that commit (7 or more digits).")
]
_NOT_DOCUMENTS = ("symlink", "binary")  # left out without being a failure
_LISTED = 20


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "ingest")(ingest)


async def ingest(
    session: Session,
    paths: Annotated[list[Path], typer.Argument(help="Files and directories.", metavar="PATHS...")],
    collection: COLLECTION,
    *,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Make the collection (or --prefix) exactly these files: the rest is deleted.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change and how many chunks would be embedded.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="One bad document stops everything.")] = False,
    atomic: Annotated[bool, typer.Option("--atomic", help="One commit or none, even for a load beyond one request's limits.")] = False,
    prefix: Annotated[str, typer.Option(help="Put before every document path, e.g. guide/.")] = "",
    message: Annotated[str, typer.Option("--message", "-m", help="Commit message.")] = "",
    metadata: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata of every document; repeatable.")] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Only members of it, and the collection's admins, may see the documents; repeatable.")
    ] = None,
    include: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Only files that match; repeatable.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="No files or directories that match; repeatable.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once the server has accepted it.")] = False,
    language: Annotated[str | None, typer.Option(help="Language of a collection made by this command.")] = None,
    if_match: IF_MATCH = None,
) -> None:
    """Ingest files and directories: one commit with what is new or changed. The collection is made if it is not there.

    A document's path is its path below the directory given; a single file's is its name. Hidden files, version control and symbolic links are left out.
    Exit status 2: some documents were left out, the rest is published.
    """
    began = time.monotonic()
    check_collection_name(collection)
    options = LoadOptions(collection, mirror, prefix, strict, atomic, not no_wait, message, language, if_match, tuple(group or ()))
    how = ScanOptions(prefix, tuple(include or ()), tuple(exclude or ()), pairs(metadata or (), "--metadata"))
    found = scan(paths, how)
    async with session.client() as client:
        limits = (await client.get("/v1/info"))["limits"]
        found.leave_out_larger(limits["document_bytes"])
        _check(found, options)
        goes_on = "goes on, see `ragstone jobs`" if client.remote else "is taken up again by the next command"
        session.interrupted = f"Interrupted. What was accepted {goes_on}."
        if dry_run:
            comparison, planned = await plan(client, found, options, limits)
            _show_plan(session, options, found, comparison, planned)
            return
        loaded = await load(client, found, options, limits, session.output)
    document = summary(options, found, loaded, time.monotonic() - began)
    show(session, document)
    if document["failures"]:
        raise typer.Exit(2)


def _check(found: Scan, options: LoadOptions) -> None:
    if options.strict and found.skipped:
        first = found.skipped[0]
        raise InvalidInput(f"--strict: {first.path}: {first.reason}; nothing was sent.", field=first.path)
    if not found.documents:
        reason = f" ({found.skipped[0].path}: {found.skipped[0].reason})" if found.skipped else ""
        raise InvalidInput(f"Nothing to ingest was found{reason}; nothing was changed.", field="paths")


def summary(options: LoadOptions, found: Scan, loaded: Loaded, seconds: float) -> dict[str, Any]:
    """The result of an ingest as a JSON document. `commits`: the load was cut into that many."""
    results = [job["result"] for job in loaded.jobs if job.get("result")]
    comparison = loaded.comparison
    last = results[-1] if results else {"commit_id": comparison.commit_id, "position": comparison.position, "stats": {}}
    waiting = len(results) < len(loaded.jobs)
    outcomes = {result["outcome"] for result in results}
    outcome = "accepted" if waiting else "published" if "published" in outcomes else "unchanged"
    skipped = [{"path": one.path, "code": one.code, "message": one.reason} for one in found.skipped]
    return {
        "collection": options.collection,
        "outcome": outcome,
        "commit_id": last["commit_id"],
        "position": last["position"],
        "commits": sum(result["outcome"] == "published" for result in results),
        "found": len(found.documents),
        "sent": len(comparison.changed),
        "same": comparison.unchanged,
        "deletes": comparison.deletes,
        "stats": _sum([result["stats"] for result in results]),
        "failures": [one for one in skipped if one["code"] not in _NOT_DOCUMENTS]
        + loaded.refused
        + [failure for result in results for failure in result["failures"]],
        "skipped": [one for one in skipped if one["code"] in _NOT_DOCUMENTS],
        "jobs": [job["id"] for job in loaded.jobs],
        "seconds": round(seconds, 3),
    }


def _sum(stats: Sequence[dict[str, int | None]]) -> dict[str, int | None]:
    if not stats:
        return {}
    state = ("documents", "chunks")  # of the collection after the commit, not of the change
    last = stats[-1]
    return {name: last[name] if name in state or last[name] is None else sum(one[name] or 0 for one in stats) for name in last}


def show(session: Session, document: dict[str, Any]) -> None:
    """Prints `summary`."""

    output, stats, name = session.output, document["stats"], document["collection"]
    if document["outcome"] == "accepted":
        output.result(document, text(f"{name}: accepted as {', '.join(document['jobs'])}; follow with `ragstone jobs ID --follow`."))
        return
    commit = commit_name(document["position"], document["commit_id"])
    lines = [text(f"{name}: {document['outcome']}, head is {commit}, {duration(document['seconds'])}", "bold")]
    if document["commits"] > 1:
        lines.append(text(f"The load was beyond one request's limits: it was cut into {document['commits']} commits."))
    rows = [("documents", f"{document['sent']:,} sent, {document['same']:,} as they were")]
    if stats:
        changes = f"{stats['documents_added']:,} added, {stats['documents_changed']:,} changed, {stats['documents_removed']:,} removed"
        whole = stats["documents"] is not None  # else some of the collection are kept from whoever asks
        rows.append(("", f"{changes}; {stats['documents']:,} in the collection" if whole else changes))
        rows.append(("chunks", f"{stats['chunks_added']:,} added, {stats['chunks_removed']:,} removed, {stats['chunks_kept']:,} kept"))
        if whole:
            rows.append(("", f"{stats['chunks_embedded']:,} embedded, {stats['chunks_reused']:,} with a vector known before"))
    output.result(document, *lines, table(("", ""), rows))
    _list(session, document["skipped"], "skipped")
    _list(session, document["failures"], "left out")


def _show_plan(session: Session, options: LoadOptions, found: Scan, comparison: Comparison, plan: dict[str, Any]) -> None:

    local = [{"path": one.path, "code": one.code, "message": one.reason} for one in found.skipped]
    document = {
        "collection": options.collection,
        "found": len(found.documents),
        "same": comparison.unchanged,
        "plan": plan,
        "skipped": local,
    }
    rows = (
        [(path, "added") for path in plan["added"]]
        + [(path, "changed") for path in plan["changed"]]
        + [(path, "removed") for path in plan["removed"]]
    )
    counts = f"{len(plan['added']):,} added, {len(plan['changed']):,} changed, {len(plan['removed']):,} removed"
    lines = [text(f"{options.collection}: this would change {len(rows):,} documents ({counts}); nothing was changed.", "bold")]
    if plan["chunks_added"] is None:
        lines.append(text("The collection is not there yet: every chunk would be embedded."))
    else:
        lines.append(
            text(f"chunks: {plan['chunks_added']:,} added, {plan['chunks_removed']:,} removed{_to_embed(plan['chunks_to_embed'])}")
        )
    session.output.result(document, *lines, *([table(("path", ""), sorted(rows))] if rows else []))
    _list(session, [*local, *plan["failures"]], "would be left out")


def _to_embed(count: int | None) -> str:
    return "" if count is None else f", {count:,} to embed"  # None: it depends on documents that are kept from whoever asks


def _list(session: Session, entries: Sequence[dict[str, Any]], what: str) -> None:
    if not entries or session.output.json_mode:
        return
    session.output.warn(f"{len(entries):,} {what}:")
    for entry in entries[:_LISTED]:
        message = str(entry["message"])
        session.output.warn(f"  {message if message.startswith(str(entry['path'])) else entry['path'] + ': ' + message}")
    if len(entries) > _LISTED:
        session.output.warn(f"  and {len(entries) - _LISTED:,} more; --json lists all.")
