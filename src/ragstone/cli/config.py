"""`ragstone check-config`: every setting, what it is for, where it comes from, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ragstone.cli.command import command
from ragstone.cli.output import table
from ragstone.cli.session import Session

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ragstone.settings.explain import Fault
    from ragstone.settings.model import UncheckedSettings


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    command(app, "check-config")(check_config)


async def check_config(session: Session) -> None:
    """Explain every setting: its value, its source (default, ragstone.toml, environment, flag; secrets are masked), what it is for, what is wrong."""
    from ragstone.settings.explain import explain

    flags = session.flags
    explained = explain(data_dir=flags.data_dir, model=flags.model)
    faults = [*explained.faults, *_of_files(explained.settings)]
    rows = [(one.name, "(unset)" if one.value is None else one.value, one.source, one.meaning) for one in explained.origins]
    document = {
        "settings": [{"name": one.name, "value": one.value, "source": one.source, "meaning": one.meaning} for one in explained.origins],
        "problems": [{"setting": fault.setting, "detail": fault.sentence} for fault in faults],
        "unknown_variables": explained.strangers,
    }
    session.output.result(document, table(("setting", "value", "source", "meaning"), rows))
    if not session.output.json_mode:
        for name in explained.strangers:
            session.output.note(f"ragstone: {name} is no setting and is overlooked; is it misspelt?")
        for fault in faults:
            session.output.warn(f"ragstone: {fault.sentence}")
    if faults:
        raise typer.Exit(1)


def _of_files(settings: UncheckedSettings) -> Iterator[Fault]:
    """What is wrong with the files that settings name, and with redaction, which needs one: refused here, not only when the server starts."""
    from ragstone.adapters.key_file import KeyFile
    from ragstone.adapters.secret_source import SecretSource
    from ragstone.bootstrap.logs import redaction
    from ragstone.domain.errors import InvalidInput
    from ragstone.settings.explain import Fault

    told = set()
    for name, path in _files(settings, ""):
        try:
            if name == "api_keys_file":
                KeyFile(path)
            else:
                SecretSource(name.removesuffix("_file"), file=path)
        except InvalidInput as error:
            told.add(name)
            yield Fault(name, error.message)
    try:
        redaction(settings.interactions)
    except InvalidInput as error:
        if error.field not in told:
            yield Fault(error.field or "interactions", error.message)


def _files(section: BaseModel, prefix: str) -> Iterator[tuple[str, Path]]:
    """The files that settings name, at any depth."""
    from pydantic import BaseModel

    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _files(value, f"{prefix}{name}.")
        elif name.endswith("_file") and isinstance(value, Path):
            yield prefix + name, value
