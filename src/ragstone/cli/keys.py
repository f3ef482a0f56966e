"""`ragstone keys`: keys for servers that listen beyond loopback."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ragstone.cli.command import command, new_app
from ragstone.cli.output import text
from ragstone.cli.session import Session


class ScopeWord(StrEnum):
    """What the key allows."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = new_app("Make API keys.")
    command(group, "new")(new)
    app.add_typer(group, name="keys")


async def new(
    session: Session,
    name: Annotated[str, typer.Argument(help="Whose key: recorded in commits, jobs and interactions.")],
    *,
    scope: Annotated[ScopeWord, typer.Option(help="read: ask; write: also change documents; admin: everything.")] = ScopeWord.READ,
) -> None:
    """Make a key. It is shown once; the line for the file of keys holds only its hash."""
    from ragstone.adapters.key_file import new_key

    key, line = new_key(name, scope.value)
    shown = (
        text(f"Key (shown once, keep it secret):\n  {key}\n"),
        text(f"Line for the file that api_keys_file (RAGSTONE_API_KEYS_FILE) names:\n  {line}"),
    )
    session.output.result({"name": name, "scope": scope.value, "key": key, "line": line}, *shown)
