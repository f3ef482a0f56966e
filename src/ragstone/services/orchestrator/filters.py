"""The JSON form of metadata filters."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ragstone.domain.errors import InvalidInput
from ragstone.domain.filters import BUILT_IN, Condition, Equals, Exists, Filter, Not, OneOf, PathPrefix, Range, Scalar

_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BOUNDS = ("gt", "gte", "lt", "lte")
_CONDITIONS = 64
_VALUES = 1000


def parse_filter(form: Mapping[str, Any] | None) -> Filter:
    """`{"key": value | {"in": […]} | {"gt"|"gte"|"lt"|"lte": n} | {"exists": bool} | {"not": …}}`, `{"path": {"prefix": …}}`; all hold.

    Raises `InvalidInput` naming the key.
    """
    if not form:
        return Filter()
    if len(form) > _CONDITIONS:
        raise InvalidInput(f"filter: at most {_CONDITIONS} conditions.", field="filter")
    return Filter(tuple(_condition(key, value) for key, value in form.items()))


def _condition(key: str, value: Any, *, negated: bool = False) -> Condition:
    field = f"filter.{key[:64]}"
    if not _KEY.fullmatch(key):
        raise InvalidInput(f"filter: {key[:80]!r} is not a key; use a metadata key or one of {', '.join(BUILT_IN)}.", field="filter")
    if not isinstance(value, Mapping):
        return Equals(key, _scalar(value, field))
    operators = sorted(value)
    match operators:
        case ["not"] if not negated:
            return Not(_condition(key, value["not"], negated=True))
        case ["in"]:
            return OneOf(key, _scalars(value["in"], field))
        case ["exists"] if isinstance(value["exists"], bool):
            return Exists(key, value["exists"])
        case ["prefix"] if key == "path" and isinstance(value["prefix"], str):
            return PathPrefix(value["prefix"])
        case [_, *_] if all(operator in _BOUNDS for operator in operators):
            return Range(key, **{operator: _number(value[operator], f"{field}.{operator}") for operator in operators})
    raise InvalidInput(
        f'{field}: use a value, {{"in": […]}}, {{"gt"|"gte"|"lt"|"lte": number}}, {{"exists": true|false}}, '
        '{"not": …} once, or for path {"prefix": "…"}.',
        field=field,
    )


def _scalars(values: Any, field: str) -> tuple[Scalar, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not 1 <= len(values) <= _VALUES:
        raise InvalidInput(f"{field}.in: give a list of 1 to {_VALUES} values.", field=f"{field}.in")
    return tuple(_scalar(value, f"{field}.in") for value in values)


def _scalar(value: Any, field: str) -> Scalar:
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        return _finite(value, field)
    raise InvalidInput(f'{field}: a value is a string, a number, true or false; for one of several use {{"in": […]}}.', field=field)


def _number(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{field}: a bound is a number.", field=field)
    return _finite(value, field)


def _finite(value: float, field: str) -> int | float:
    if (isinstance(value, int) and abs(value) >= 2**63) or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidInput(f"{field}: the number is beyond 64 bits.", field=field)
    return value
