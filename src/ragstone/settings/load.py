"""Loading settings with plain errors, and telling where each value came from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from ragstone.domain.errors import InvalidInput
from ragstone.settings.model import Settings

_PREFIX = "RAGSTONE_"


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting as in force. `source`: default, ragstone.toml, environment or flag. Secrets are masked in `value`."""

    name: str
    value: str
    source: str


def load_settings(**flags: Any) -> Settings:
    """Settings with `flags` on top; None flags count as not given. Raises `InvalidInput` naming the setting."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"settings: {name + ': ' if name else ''}{message}", field=name or "settings") from None
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise InvalidInput(f"ragstone.toml: it can't be read ({error}); mend or remove it.", field="ragstone.toml") from None


def origins(settings: Settings, **flags: Any) -> list[Origin]:
    """Every setting with its source, in order of declaration."""
    file = Path("ragstone.toml")
    from_file = tomllib.loads(file.read_text()) if file.is_file() else {}
    environment = {name.removeprefix(_PREFIX).lower() for name in os.environ if name.upper().startswith(_PREFIX)}
    return list(_origins(settings, "", from_file, environment, {name for name, value in flags.items() if value is not None}))


def _origins(section: BaseModel, prefix: str, from_file: Mapping[str, Any], environment: set[str], flags: set[str]) -> list[Origin]:
    found: list[Origin] = []
    for name in type(section).model_fields:
        value, path = getattr(section, name), prefix + name
        inner = from_file.get(name, {})
        if isinstance(value, BaseModel):
            found += _origins(value, path + ".", inner if isinstance(inner, dict) else {}, environment, flags)
            continue
        variable = path.replace(".", "__")
        if path in flags:
            source = "flag"
        elif variable in environment or any(variable.startswith(whole + "__") for whole in environment):
            source = "environment"
        else:
            source = "ragstone.toml" if name in from_file else "default"
        found.append(Origin(path, "********" if isinstance(value, SecretStr) else str(value), source))
    return found
