"""Reading values from the command line: metadata, filters, the commit of `--if-match`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from ragstone.domain.errors import InvalidInput


def pairs(given: Sequence[str], flag: str) -> dict[str, Any]:
    """Metadata: numbers, true and false are read as such, `"quoted"` and the rest as text; a key given twice becomes a list of texts."""
    found: dict[str, Any] = {}
    for name, values in _grouped(given, flag).items():
        found[name] = values[0] if len(values) == 1 else [str(value) for value in values]
    return found


def filter_of(given: Sequence[str], document: str | None) -> dict[str, Any] | None:
    """The filter of a query: `key=value` (a key given twice: any of them), with the conditions of the JSON object `document`."""
    conditions: dict[str, Any] = {}
    for name, values in _grouped(given, "--filter").items():
        conditions[name] = values[0] if len(values) == 1 else {"in": values}
    if document is not None:
        try:
            more = json.loads(document)
        except ValueError as error:
            raise InvalidInput(f"--filter-json: it is not JSON ({error}).", field="filter") from None
        if not isinstance(more, dict):
            raise InvalidInput('--filter-json: give an object like {"year": {"gte": 2024}}.', field="filter")
        if twice := sorted(conditions.keys() & more.keys()):
            raise InvalidInput(f"--filter-json: {twice[0]!r} is in --filter too; give it once.", field="filter")
        conditions |= more
    return conditions or None


def _grouped(given: Sequence[str], flag: str) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f"{flag}: {pair!r} is not key=value.", field=flag.lstrip("-"))
        grouped.setdefault(name.strip(), []).append(_value(value))
    return grouped


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return value if isinstance(value, str | int | float) else text


def if_match_header(commit: str | None) -> dict[str, str]:
    """The header for `--if-match`; an empty string stands for an empty collection. Raises `InvalidInput`."""
    if commit is None:
        return {}
    if not re.fullmatch(r"[0-9a-fA-F]{7,64}|", commit):
        raise InvalidInput(f"--if-match: {commit[:100]!r} is no commit id; give 7 or more of its digits.", field="if_match")
    return {"If-Match": f'"{commit}"'}
