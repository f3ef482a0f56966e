"""`ragstone doctor`: the check-up of the stores."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.adapters.data_directory import owner  # not through bootstrap, which imports every engine
from ragstone.cli.api import Json, ProblemError
from ragstone.cli.command import command
from ragstone.cli.output import table, text
from ragstone.cli.progress import bar, duration
from ragstone.cli.session import Session
from ragstone.cli.words import counted
from ragstone.domain.errors import DataDirectoryError

if TYPE_CHECKING:
    from rich.console import RenderableType

LEFT = 3  # exit status when findings are left
_PHASES = {
    "catalog": "catalog",
    "versions": "commits",
    "documents": "documents read",
    "points": "points compared",
    "repair": "points mended",
}
_STYLES = {"error": "red", "warning": "yellow", "info": ""}


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "doctor")(doctor)


async def doctor(
    session: Session,
    *,
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Check only this collection.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
) -> None:
    """Check that index, versions, jobs and catalog agree; on a running server too. Exit status 3 when something is left to be done."""

    try:
        report = await _checked(session, collection, repair=repair)
    except DataDirectoryError as error:
        if owner(session.settings.data_dir) is not None:  # it is only in use
            raise
        report = _unusable(error, repair=repair)
    session.output.result(report, *_shown(report))
    if not report["healthy"]:
        raise typer.Exit(LEFT)


async def _checked(session: Session, collection: str | None, *, repair: bool) -> Json:
    async with session.client() as client:
        with bar(session.output, "Checking") as shown:
            async for event in client.events("POST", "/v1/doctor", {"repair": repair, "collection": collection}):
                if event.name == "report":
                    return event.data
                progress = event.data
                counts = f"{progress['done']:,} of {progress['total']:,} " if progress["total"] else ""
                remark = f"{progress['collection'] or ''} {counts}{_PHASES.get(progress['phase'], '')}".strip()
                shown.show(progress["done"], progress["total"] or None, remark)
    detail = "The check-up ended without a report; try again."
    raise ProblemError({"type": "urn:ragstone:problem:unavailable", "title": "Unavailable", "status": 503, "detail": detail})


def _unusable(error: DataDirectoryError, *, repair: bool) -> Json:
    """A directory that can't even be opened is a finding like others."""
    from ragstone.use_cases.doctor.words import finding

    found = asdict(finding("unusable-directory", None, error.message))
    sums = {"collections": 0, "commits": 0, "documents": 0, "points": 0, "seconds": 0.0}
    return {"healthy": False, "findings": [found], "unlisted": 0, "repair": repair, **sums}


def _shown(report: Json) -> list[RenderableType]:
    looked = (
        f"Looked at {counted(report['collections'], 'collection')}, {counted(report['commits'], 'commit')}, "
        f"{counted(report['documents'], 'document version')} and {counted(report['points'], 'point')} in {duration(report['seconds'])}."
    )
    findings = report["findings"]
    lines: list[RenderableType] = []
    if findings:
        rows = [(_state(one), one["kind"], one["collection"], one["what"], f"{one['count']:,}") for one in findings]
        lines.append(table(("", "finding", "collection", "where", "count"), rows, right=("count",)))
    for kind in dict.fromkeys(one["kind"] for one in findings):
        example = next(one for one in findings if one["kind"] == kind)
        lines.append(text(f"{kind}: {example['meaning']}", _STYLES[example["severity"]]))
        lines.append(text(f"  {_advice(report, example)}"))
    if report["unlisted"]:
        lines.append(text(f"Not listed: {counted(report['unlisted'], 'finding')}."))
    return [*lines, text(looked), text(_verdict(report), "bold")]


def _state(one: Json) -> str:
    return "repaired" if one["repaired"] else str(one["severity"])


def _advice(report: Json, one: Json) -> str:
    if one["repaired"]:
        return f"Repaired: {one['repair']}"
    if not one["repairable"]:
        return f"Can't be repaired by ragstone: {one['repair']}"
    return f"Could not be repaired this time; run it again. {one['repair']}" if report["repair"] else f"--repair: {one['repair']}"


def _verdict(report: Json) -> str:
    left = [one for one in report["findings"] if not one["repaired"] and one["severity"] != "info"]
    repaired = sum(one["repaired"] for one in report["findings"])
    mended = f"{counted(repaired, 'finding')} repaired"
    if left:
        return f"{counted(len(left) + report['unlisted'], 'finding')} left." + (f" {mended}." if repaired else "")
    return f"Healthy again: {mended}." if repaired else "Healthy."
