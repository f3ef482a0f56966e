"""Explaining settings: what each is for, where its value comes from, and everything that is wrong with them, not only the first."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from ragstone.settings.load import in_words
from ragstone.settings.model import UncheckedSettings

_PREFIX = "RAGSTONE_"
_OTHERS = frozenset({"server", "api_key", "api_key_file", "debug", "failpoints"})  # variables that are no settings
_TESTS = ("test_", "bench_")
_MOST = 50  # rounds: each takes at least one wrong value out
_PASSWORD = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_MASK = "********"
_FILE = Path("ragstone.toml")


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting. `value`: as in force, None where it is unset; secrets are masked. `source`: default, ragstone.toml, environment or flag."""

    name: str
    value: str | None
    source: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a setting, or with several together (then `setting` is the first that the sentence names)."""

    setting: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`settings`: those that are right, with defaults in place of the others. `faults` keep a process from starting, `strangers` are variables of no setting."""

    settings: UncheckedSettings
    origins: list[Origin]
    faults: list[Fault]
    strangers: list[str]


class _Given(UncheckedSettings):
    """Out of what is given alone: the sources were read before."""

    model_config = SettingsConfigDict(toml_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def explain(**flags: Any) -> Explanation:
    """All of it, whatever is wrong; None flags count as not given."""
    faults: list[Fault] = []
    from_file = _from_file(faults)
    given = {name: value for name, value in flags.items() if value is not None}
    merged = _over(_over(from_file, _from_environment(faults)), given)
    settings, refused = _without_what_is_wrong(merged, faults)
    doubtful = {name.split(".")[0] for name in refused}  # there a default would be blamed
    faults += [Fault(one.settings[0], one.sentence) for one in settings.contradictions() if not doubtful.intersection(one.settings)]
    variables = {name.upper().removeprefix(_PREFIX).lower() for name in os.environ if name.upper().startswith(_PREFIX)}
    found = [_refused(origin, refused) for origin in _origins(settings, "", from_file, variables, set(given))]
    return Explanation(settings, found, faults, [_PREFIX + name.upper() for name in sorted(variables) if _is_stranger(name)])


def _from_file(faults: list[Fault]) -> dict[str, Any]:
    try:
        return tomllib.loads(_FILE.read_text("utf-8")) if _FILE.is_file() else {}
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        faults.append(Fault("ragstone.toml", f"ragstone.toml: it can't be read ({error}); mend or remove it."))
        return {}


def _from_environment(faults: list[Fault]) -> dict[str, Any]:
    try:
        return EnvSettingsSource(UncheckedSettings)()
    except SettingsError as error:
        faults.append(
            Fault("environment", f"environment: {error}; a list or table in a variable is written as JSON. No variable was read.")
        )
        return {}


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        before = merged.get(name)
        merged[name] = _over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _without_what_is_wrong(given: dict[str, Any], faults: list[Fault]) -> tuple[UncheckedSettings, list[str]]:
    """The settings without the values that are refused, and the names of those."""
    left, refused = deepcopy(given), list[str]()
    for _ in range(_MOST):
        try:
            return _Given(**left), refused
        except ValidationError as error:
            for one in error.errors(include_url=False, include_input=False):
                name, message = in_words(one)
                if name not in {fault.setting for fault in faults}:  # else it was wrong, and is now missing
                    faults.append(Fault(name, f"{name}: {message.rstrip('.')}."))
                refused.append(_take_out(left, one["loc"]))
    return _Given(), refused


def _take_out(given: dict[str, Any], place: tuple[int | str, ...]) -> str:
    """Takes what is at a place out, or the nearest around it: the place of what is missing is its section's, and some parts of places are kinds."""
    holder, name, path = given, str(place[0]), [str(place[0])]
    node = given.get(name)
    for part in place[1:]:
        if not isinstance(node, dict) or part not in node:
            continue
        holder, name, node = node, str(part), node[part]
        path.append(name)
    holder.pop(name, None)
    return ".".join(path)


def _refused(origin: Origin, refused: list[str]) -> Origin:
    if any(origin.name == name or origin.name.startswith(name + ".") for name in refused):
        return Origin(origin.name, "(refused)", origin.source, origin.meaning)
    return origin


def _origins(section: BaseModel, prefix: str, from_file: Mapping[str, Any], environment: set[str], flags: set[str]) -> Iterator[Origin]:
    for name, field in type(section).model_fields.items():
        value, path = getattr(section, name), prefix + name
        inner = from_file.get(name, {})
        if isinstance(value, BaseModel):
            yield from _origins(value, path + ".", inner if isinstance(inner, dict) else {}, environment, flags)
            continue
        variable = path.replace(".", "__")
        if path in flags:
            source = "flag"
        elif variable in environment or any(variable.startswith(whole + "__") for whole in environment):
            source = "environment"
        else:
            source = "ragstone.toml" if name in from_file else "default"
        yield Origin(path, _shown(value), source, _meaning(section, name, field.description))


def _shown(value: object) -> str | None:
    if value is None:
        return None
    return _MASK if isinstance(value, SecretStr) else _PASSWORD.sub(_MASK, str(value))


def _meaning(section: BaseModel, name: str, description: str | None) -> str:
    if description:
        return description
    if name == "kind":
        return (type(section).__doc__ or "").split("\n")[0].strip()
    return f"a file that holds {name.removesuffix('_file')}"


def _is_stranger(variable: str) -> bool:
    """pydantic-settings overlooks a variable of an unknown name."""
    if variable in _OTHERS or variable.startswith(_TESTS):
        return False
    models: list[type[BaseModel]] = [UncheckedSettings]
    for part in variable.split("__"):
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        if not fields:
            return bool(models)  # below a table of free names everything is known
        kinds = [kind for field in fields for kind in (field.annotation, *get_args(field.annotation))]
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return False
