"""Loading settings with plain errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

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
    name = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "union_tag_not_found":
            kinds = ", ".join(_kinds(error["loc"]))
            return name, f"other settings of it are given without its kind; set {name}.kind, too: {kinds}"
        case "union_tag_invalid":
            return name, f"kind {error['ctx']['tag']!r} is none; it is one of {', '.join(_kinds(error['loc']))}"
    return name, error["msg"].removeprefix("Value error, ")


def _kinds(place: Sequence[int | str]) -> list[str]:
    """The kinds of a section, by its place in the settings."""
    section: Any = Settings
    for part in place:
        section = section.model_fields[part].annotation
    return [kind for one in get_args(section) for kind in get_args(one.model_fields["kind"].annotation)]
