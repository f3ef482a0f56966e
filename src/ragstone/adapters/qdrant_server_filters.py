"""Filters in a Qdrant server's terms: of snapshots, of the neutral AST, of ids. Every field they name has an index (strict mode refuses others)."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection
from typing import Any

from qdrant_client import models

from ragstone.adapters.qdrant_edge_payload import key_facet, number_path, value_facet
from ragstone.domain import filters as neutral
from ragstone.domain.commits import OPEN

NOTHING = models.HasIdCondition(has_id=[])


def in_snapshot(seq: int, gaps: Collection[int], groups: frozenset[str] | None) -> list[models.Condition]:
    """`domain.commits.visible`, and of that what members of `groups` may see (None: everything)."""
    began: models.Condition = models.FieldCondition(key="seq_from", range=models.Range(lte=seq))
    not_ended = models.FieldCondition(key="seq_to", range=models.Range(gt=seq))
    seen: list[models.Condition] = [began, not_ended]
    if gaps:
        seen = [began, negated(any_of("seq_from", gaps)), either(not_ended, any_of("seq_to", gaps))]
    if groups is not None:
        seen.append(either(models.IsEmptyCondition(is_empty=models.PayloadField(key="groups")), any_of("groups", sorted(groups))))
    return seen


def every(*conditions: models.Condition) -> models.Filter:
    """All of them hold."""
    return models.Filter(must=list(conditions))


def either(*conditions: models.Condition) -> models.Filter:
    """At least one of them holds."""
    return models.Filter(should=list(conditions))


def negated(condition: models.Condition) -> models.Filter:
    """It does not hold."""
    return models.Filter(must_not=[condition])


def any_of(field: str, values: Collection[int] | Collection[str]) -> models.Condition:
    """`field` is one of `values`; false for no values."""
    listed: Any = list(values)
    return models.FieldCondition(key=field, match=models.MatchAny(any=listed)) if listed else NOTHING


def equals(field: str, value: int | str) -> models.Condition:
    """`field` is `value`."""
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def has_id(ids: Collection[str]) -> models.Condition:
    """The point is one of these."""
    return models.HasIdCondition(has_id=list(ids))


def closable(ids: Collection[str], gaps: Collection[int]) -> models.Filter:
    """Points of `ids` that no published attempt has closed."""
    return every(has_id(ids), any_of("seq_to", [OPEN, *gaps]))


def in_range(after: int, until: int, gaps: Collection[int]) -> models.Filter:
    """Points opened after `after` and closed for good by `until`."""
    bounds: list[models.Condition] = [
        models.FieldCondition(key="seq_from", range=models.Range(gt=after)),
        models.FieldCondition(key="seq_to", range=models.Range(lte=until)),
    ]
    return models.Filter(must=bounds, must_not=[any_of("seq_to", gaps)] if gaps else None)


def of_path(path: str, until: int) -> models.Filter:
    """Points of a document that attempts up to `until` opened."""
    return every(equals("path", path), models.FieldCondition(key="seq_from", range=models.Range(lte=until)))


def not_closed_after(head: int) -> models.Filter:
    """Points that no attempt later than `head` has closed; damaged ones too."""
    return negated(models.FieldCondition(key="seq_to", range=models.Range(gt=head, lt=OPEN)))


def ranged_paths(filter_: neutral.Filter) -> set[str]:
    """The fields whose numbers the filter compares."""
    return {number_path(key) for condition in filter_.conditions for key in _ranged(condition)}


def conditions(filter_: neutral.Filter, numbers: Collection[str]) -> list[models.Condition]:
    """The neutral filter as conditions that must all hold; `domain.filters.matches` is their meaning. A range of a field that is not among
    `numbers`, which have an index, holds for no point.
    """
    return [_condition(condition, numbers) for condition in filter_.conditions]


def _ranged(condition: neutral.Condition) -> list[str]:
    match condition:
        case neutral.Not(inner):
            return _ranged(inner)
        case neutral.Range(key):
            return [key]
    return []


def _condition(condition: neutral.Condition, numbers: Collection[str]) -> models.Condition:
    match condition:
        case neutral.Not(inner):
            return negated(_condition(inner, numbers))
        case neutral.PathPrefix(prefix):
            return models.FieldCondition(key="path", match=models.MatchPrefix(prefix=prefix))
        case neutral.Exists(key, present):
            holds = equals("facets", key_facet(key))
            return holds if present else negated(holds)
        case neutral.Equals(key, value):
            return _any_value(key, (value,))
        case neutral.OneOf(key, values):
            return _any_value(key, values)
        case neutral.Range():
            return _range(condition, numbers)


def _any_value(key: str, values: Collection[neutral.Scalar]) -> models.Condition:
    return any_of("facets", [value_facet(key, value) for value in values if not (isinstance(value, float) and math.isnan(value))])


def _range(bounds: neutral.Range, numbers: Collection[str]) -> models.Condition:
    given = (bounds.gt, bounds.gte, bounds.lt, bounds.lte)
    path = number_path(bounds.key)
    if path not in numbers or any(bound is not None and math.isnan(bound) for bound in given):
        return NOTHING
    gt, gte, lt, lte = (None if bound is None else neutral.as_double(bound) for bound in given)
    if given == (None, None, None, None):
        gte = -sys.float_info.max
    return models.FieldCondition(key=path, range=models.Range(gt=gt, gte=gte, lt=lt, lte=lte))
