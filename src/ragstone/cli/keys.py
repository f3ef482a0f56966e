"""`ragstone keys`: keys for servers that listen beyond loopback."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.command import command, new_app
from ragstone.cli.output import table, text
from ragstone.cli.session import Session
from ragstone.domain.access import scopes_text
from ragstone.domain.errors import InvalidInput

if TYPE_CHECKING:
    from ragstone.adapters.key_file import KeyLine

_SPAN = re.compile(r"([0-9]{1,5})([mhd])", re.ASCII)
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}  # seconds

FileOption = Annotated[Path | None, typer.Option("--file", help="The file of keys, to be changed (default: the setting api_keys_file).")]
UntilOption = Annotated[str | None, typer.Option(help="When the key ends: a date or time (ISO 8601), or a span such as 90d, 12h.")]


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = new_app("Make, list, rotate and revoke API keys.")
    command(group, "new")(new)
    command(group, "list")(list_)
    command(group, "rotate")(rotate)
    command(group, "revoke")(revoke)
    app.add_typer(group, name="keys")


async def new(
    session: Session,
    name: Annotated[str, typer.Argument(help="Whose key: recorded in commits, jobs and interactions.")],
    *,
    scope: Annotated[
        str, typer.Option(help="read: ask; write: also change documents; admin: everything; or by collection: docs=write,team-*=read.")
    ] = "read",
    group: Annotated[list[str] | None, typer.Option(help="A group whose documents may be seen; repeatable.")] = None,
    until: UntilOption = None,
    file: FileOption = None,
) -> None:
    """Make a key. It is shown once; its line, for the file of keys, holds only its hash. With --file the line is added there."""
    from ragstone.adapters.key_editing import add_key
    from ragstone.adapters.key_file import new_key

    key, line = new_key(name, scope, group or (), None if until is None else _moment(until))
    if file is not None:
        add_key(file, line)
    _show(session, key, line, None if file is None else str(file))


async def list_(session: Session, *, file: FileOption = None) -> None:
    """Whose keys there are, what they may do, and until when. Neither keys nor hashes are shown."""
    from ragstone.adapters.key_file import read_keys

    now = time.time()
    forms: list[dict[str, Any]] = [
        {
            "name": line.principal.name,
            "scope": scopes_text(line.principal),
            "groups": sorted(line.principal.groups),
            "until": None if line.until is None else _iso(line.until),
            "expired": line.until is not None and line.until <= now,
        }
        for line in read_keys(_file(session, file))
    ]
    rows = [
        (form["name"], form["scope"], ", ".join(form["groups"]), f"{form['until'] or ''}{' (expired)' if form['expired'] else ''}")
        for form in forms
    ]
    session.output.result({"keys": forms}, table(("name", "scope", "groups", "until"), rows))


async def rotate(
    session: Session,
    name: Annotated[str, typer.Argument(help="Whose key.")],
    *,
    overlap: Annotated[str, typer.Option(help="For how long the old keys go on to count: a span such as 7d, 12h, 30m.")] = "7d",
    until: UntilOption = None,
    file: FileOption = None,
) -> None:
    """Make a new key with the same rights. The ones of before go on to count for a while, so that clients can move over."""
    from ragstone.adapters.key_editing import rotate_key

    path = _file(session, file)
    old_until = time.time() + _span(overlap, "overlap")
    key, line = rotate_key(path, name, old_until, None if until is None else _moment(until))
    _show(session, key, line, str(path), old_until=_iso(old_until))


async def revoke(session: Session, name: Annotated[str, typer.Argument(help="Whose keys.")], *, file: FileOption = None) -> None:
    """Take all keys of a name out of the file. A running server knows them no longer within two seconds (a mounted secret: once it is updated)."""
    from ragstone.adapters.key_editing import revoke_keys

    count = revoke_keys(_file(session, file), name)
    session.output.result({"name": name, "revoked": count}, text(f"Revoked {count} key{'s' * (count != 1)} of {name}."))


def _show(session: Session, key: str, line: KeyLine, file: str | None, **more: Any) -> None:
    shown = [text(f"Key (shown once, keep it secret):\n  {key}\n")]
    if file is None:
        shown.append(text(f"Line for the file that api_keys_file (RAGSTONE_API_KEYS_FILE) names:\n  {line.text()}"))
    else:
        shown.append(text(f"Its line is in {file}."))
    if "old_until" in more:
        shown.append(text(f"The keys of before count until {more['old_until']}."))
    form = {"name": line.principal.name, "scope": scopes_text(line.principal), "key": key, "line": line.text(), **more}
    session.output.result(form, *shown)


def _file(session: Session, file: Path | None) -> Path:
    found = file if file is not None else session.settings.api_keys_file
    if found is None:
        raise InvalidInput("--file: name the file of keys, or set api_keys_file (RAGSTONE_API_KEYS_FILE).", field="file")
    return found


def _moment(given: str) -> float:
    from ragstone.adapters.key_file import parse_until

    return time.time() + _span(given, "until") if _SPAN.fullmatch(given) else parse_until(given)


def _span(given: str, field: str) -> float:
    found = _SPAN.fullmatch(given)
    if not found:
        raise InvalidInput(f"{field}: {given[:40]!r} is not a span of time; write 30m, 12h or 7d.", field=field)
    return int(found[1]) * _UNITS[found[2]]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
