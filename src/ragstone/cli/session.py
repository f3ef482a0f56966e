"""One run of one command: its flags, settings, output, and the way to the API."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragstone.cli.output import Output
from ragstone.domain.errors import InvalidInput

if TYPE_CHECKING:
    from ragstone.cli.client import Client
    from ragstone.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Flags:
    """What may be given with every command."""

    data_dir: Path | None = None
    server: str | None = None
    model: str | None = None
    json: bool = False
    quiet: bool = False

    @classmethod
    def merge(cls, before: Flags | None, given: Mapping[str, Any]) -> Flags:
        """`given` with the command, over what stood `before` it."""
        return cls(**{field.name: given[field.name] or getattr(before, field.name, field.default) for field in fields(cls)})


class Session:
    """Holds nothing open by itself."""

    def __init__(self, flags: Flags) -> None:
        self.flags = flags
        self.output = Output(json_mode=flags.json, quiet=flags.quiet)
        self.interrupted = "Interrupted."  # what is said on Ctrl-C; a command that leaves work running says so

    @cached_property
    def settings(self) -> Settings:
        """Raises `InvalidInput`."""
        return self.load_settings()

    def load_settings(self, **flags: Any) -> Settings:
        """Settings with further flags on top."""
        from ragstone.settings.load import load_settings

        return load_settings(data_dir=self.flags.data_dir, model=self.flags.model, **flags)

    @property
    def server(self) -> str | None:
        """The server that was asked for."""
        return self.flags.server or os.environ.get("RAGSTONE_SERVER") or None

    @property
    def api_key(self) -> str | None:
        """The key for the server: of RAGSTONE_API_KEY, or of the file that RAGSTONE_API_KEY_FILE names. Raises `InvalidInput`."""
        key, file = os.environ.get("RAGSTONE_API_KEY"), os.environ.get("RAGSTONE_API_KEY_FILE")
        if not key and file:
            try:
                key = Path(file).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise InvalidInput("RAGSTONE_API_KEY_FILE: it can't be read; check its path and rights.", field="api_key") from None
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise InvalidInput("RAGSTONE_API_KEY: a key has no blanks and no special letters; copy it again.", field="api_key")
        return key or None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """The API: of the server asked for, of the data directory's owner, or in this process."""
        from ragstone.cli.connection import connect

        async with connect(self.settings, self.server, self.output, self.api_key) as client:
            yield client
