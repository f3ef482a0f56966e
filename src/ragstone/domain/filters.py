"""The neutral filter: conditions on a document's metadata. Adapters translate it; `matches` is its meaning.

A condition's `key` is a metadata key, or one of the built-in `path`, `media_type`, `title`. A list value matches when any element does. Numbers are compared as 64-bit floats, and a boolean is no number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

Scalar = str | int | float | bool
BUILT_IN = ("path", "media_type", "title")


@dataclass(frozen=True, slots=True)
class Equals:
    """The value of `key` is `value`."""

    key: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value of `key` is one of `values`."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The value of `key` is a number within the bounds given."""

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """`key` is present (or absent, with `present=False`)."""

    key: str
    present: bool = True


@dataclass(frozen=True, slots=True)
class PathPrefix:
    """The document's path begins with `prefix`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Not:
    """`condition` does not hold."""

    condition: Condition


Condition = Equals | OneOf | Range | Exists | PathPrefix | Not


@dataclass(frozen=True, slots=True)
class Filter:
    """All `conditions` hold. An empty filter lets everything through."""

    conditions: tuple[Condition, ...] = ()


def matches(filter_: Filter, values: Mapping[str, object]) -> bool:
    """Whether a document whose metadata and built-ins are `values` passes the filter."""
    return all(_holds(condition, values) for condition in filter_.conditions)


def _holds(condition: Condition, values: Mapping[str, object]) -> bool:
    match condition:
        case Not(inner):
            return not _holds(inner, values)
        case PathPrefix(prefix):
            return str(values["path"]).startswith(prefix)
        case Exists(key, present):
            return (values.get(key) not in (None, (), [])) is present
        case Equals(key, value):
            return any(_same(element, value) for element in _elements(values.get(key)))
        case OneOf(key, wanted):
            return any(_same(element, value) for element in _elements(values.get(key)) for value in wanted)
        case Range():
            return any(_within(element, condition) for element in _elements(values.get(condition.key)))


def _elements(value: object) -> tuple[object, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _same(element: object, value: Scalar) -> bool:
    if is_number(element) and is_number(value):
        return as_double(element) == as_double(value)
    return type(element) is type(value) and element == value


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a filter takes `value` for a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_double(number: float) -> float:
    """`number` as filters compare it; an integer beyond all floats is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _within(element: object, bounds: Range) -> bool:
    if not is_number(element):
        return False
    number = as_double(element)
    return (
        (bounds.gt is None or number > as_double(bounds.gt))
        and (bounds.gte is None or number >= as_double(bounds.gte))
        and (bounds.lt is None or number < as_double(bounds.lt))
        and (bounds.lte is None or number <= as_double(bounds.lte))
    )
