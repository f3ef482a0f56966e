"""Secrets of the settings, from a value or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ragstone.adapters.secret_source import SecretSource

if TYPE_CHECKING:
    from pydantic import SecretStr


def secret_of(name: str, value: SecretStr | None, file: Path | None) -> SecretSource:
    """The setting of this name, which has a value or a file."""
    return SecretSource(name, value=value.get_secret_value() if value else None, file=file)
