"""Filters in Qdrant Edge's terms: of snapshots, of the neutral AST, of ids."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection
from typing import Any

from qdrant_edge import FieldCondition, Filter, HasIdCondition, IsEmptyCondition, MatchAny, MatchPrefix, MatchValue, RangeFloat

from ragstone.adapters.qdrant_edge_payload import key_facet, number_path, value_facet
from ragstone.domain import filters as neutral
from ragstone.domain.commits import OPEN

EdgeCondition = FieldCondition | HasIdCondition | IsEmptyCondition | Filter


def in_snapshot(seq: int, gaps: Collection[int], groups: frozenset[str] | None = None) -> list[EdgeCondition]:
    """`domain.commits.visible`, and of that what `groups` may see. Gaps and groups are only mentioned when there are any, since each costs time."""
    seen = _alive(seq, gaps)
    return seen if groups is None else [*seen, Filter(should=[IsEmptyCondition("groups"), any_of("groups", sorted(groups))])]


def _alive(seq: int, gaps: Collection[int]) -> list[EdgeCondition]:
    began = FieldCondition("seq_from", range=RangeFloat(lte=seq))
    not_ended = FieldCondition("seq_to", range=RangeFloat(gt=seq))
    if not gaps:
        return [began, not_ended]
    return [began, Filter(must_not=[any_of("seq_from", gaps)]), Filter(should=[not_ended, any_of("seq_to", gaps)])]


def closable(ids: Collection[str], gaps: Collection[int]) -> Filter:
    """Points of `ids` that no published attempt has closed."""
    return Filter(must=[HasIdCondition(set(ids)), any_of("seq_to", [OPEN, *gaps])])


def in_range(after: int, until: int, gaps: Collection[int]) -> Filter:
    """Points opened after `after` and closed for good by `until`."""
    bounds = [FieldCondition("seq_from", range=RangeFloat(gt=after)), FieldCondition("seq_to", range=RangeFloat(lte=until))]
    return Filter(must=[*bounds], must_not=[any_of("seq_to", gaps)] if gaps else None)


def of_path(path: str, until: int) -> Filter:
    """Points of a document that attempts up to `until` opened."""
    return Filter(must=[FieldCondition("path", match=MatchValue(path)), FieldCondition("seq_from", range=RangeFloat(lte=until))])


def of_document(path: str) -> Filter:
    """All points of a document."""
    return Filter(must=[FieldCondition("path", match=MatchValue(path))])


def any_of(field: str, values: Collection[int] | Collection[str]) -> FieldCondition:
    """`field` is one of `values`; false for no values."""
    listed: list[Any] = list(values)
    return FieldCondition(field, match=MatchAny(listed))


def conditions(filter_: neutral.Filter) -> list[EdgeCondition]:
    """The neutral filter as conditions that must all hold. `domain.filters.matches` is their meaning."""
    return [_condition(condition) for condition in filter_.conditions]


def _condition(condition: neutral.Condition) -> EdgeCondition:
    match condition:
        case neutral.Not(inner):
            return Filter(must_not=[_condition(inner)])
        case neutral.PathPrefix(prefix):
            return FieldCondition("path", match=MatchPrefix(prefix))
        case neutral.Exists(key, present):
            holds = FieldCondition("facets", match=MatchValue(key_facet(key)))
            return holds if present else Filter(must_not=[holds])
        case neutral.Equals(key, value):
            return _any_value(key, (value,))
        case neutral.OneOf(key, values):
            return _any_value(key, values)
        case neutral.Range():
            return _range(condition)


def _any_value(key: str, values: Collection[neutral.Scalar]) -> EdgeCondition:
    return any_of("facets", [value_facet(key, value) for value in values if not (isinstance(value, float) and math.isnan(value))])


def _range(bounds: neutral.Range) -> EdgeCondition:
    given = (bounds.gt, bounds.gte, bounds.lt, bounds.lte)
    if any(bound is not None and math.isnan(bound) for bound in given):
        return any_of("facets", ())
    gt, gte, lt, lte = (None if bound is None else neutral.as_double(bound) for bound in given)
    if given == (None, None, None, None):
        gte = -sys.float_info.max
    return FieldCondition(number_path(bounds.key), range=RangeFloat(gt=gt, gte=gte, lt=lt, lte=lte))
