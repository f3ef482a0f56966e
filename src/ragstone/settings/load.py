"""Loading settings with plain errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from ragstone.domain.errors import InvalidInput
from ragstone.settings.model import Settings


def load_settings(**flags: Any) -> Settings:
    """Settings with `flags` on top; None flags count as not given. Raises `InvalidInput` naming the setting."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        name, message = in_words(error.errors(include_url=False, include_input=False)[0])
        raise InvalidInput(f"settings: {name + ': ' if name else ''}{message}", field=name or "settings") from None
    except SettingsError as error:
        raise InvalidInput(f"settings: {error}; a list or table in a variable is written as JSON.", field="settings") from None
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise InvalidInput(f"ragstone.toml: it can't be read ({error}); mend or remove it.", field="ragstone.toml") from None


def in_words(error: Mapping[str, Any]) -> tuple[str, str]:
    """The setting that one of pydantic's errors is about (empty: several together), and what it says."""
    return ".".join(str(part) for part in error["loc"]), error["msg"].removeprefix("Value error, ")
