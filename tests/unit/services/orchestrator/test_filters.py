"""The JSON form of filters means what the domain's `matches` says."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.errors import InvalidInput
from ragstone.domain.filters import Equals, Exists, Filter, Not, OneOf, PathPrefix, Range
from ragstone.services.orchestrator.filters import parse_filter


@pytest.mark.parametrize(
    ("form", "condition"),
    [
        ({"team": "ops"}, Equals("team", "ops")),
        ({"open": True}, Equals("open", True)),
        ({"team": {"in": ["a", 1]}}, OneOf("team", ("a", 1))),
        ({"year": {"gte": 1, "lt": 2.5}}, Range("year", gte=1, lt=2.5)),
        ({"team": {"exists": False}}, Exists("team", False)),
        ({"path": {"prefix": "a/"}}, PathPrefix("a/")),
        ({"team": {"not": "ops"}}, Not(Equals("team", "ops"))),
        ({"team": {"not": {"in": ["a"]}}}, Not(OneOf("team", ("a",)))),
    ],
)
def test_each_form(form: dict[str, Any], condition: object) -> None:
    assert parse_filter(form) == Filter((condition,))  # type: ignore[arg-type]  # a parametrised Condition


@pytest.mark.parametrize("form", [None, {}])
def test_nothing_lets_everything_through(form: dict[str, Any] | None) -> None:
    assert parse_filter(form) == Filter()


@pytest.mark.parametrize(
    "form",
    [
        {"team": None},
        {"team": []},
        {"team": {}},
        {"team": {"in": []}},
        {"team": {"in": "abc"}},
        {"team": {"in": [None]}},
        {"team": {"in": ["x"] * 1001}},
        {"team": {"prefix": "a"}},
        {"path": {"prefix": 1}},
        {"year": {"gt": True}},
        {"year": {"gt": float("nan")}},
        {"year": {"gt": 1, "exists": True}},
        {"year": 2**63},
        {"team": {"exists": 1}},
        {"team": {"not": {"not": 1}}},
        {"": 1},
        {"é": 1},
        {"k" * 65: 1},
        {f"k{number}": 1 for number in range(65)},
    ],
)
def test_what_means_nothing_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_filter(form)
    assert str(refused.value.field).startswith("filter")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["in", "not", "gt", "lte", "exists", "prefix", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=4) | st.just("path"), _JSON, max_size=3))
def test_any_json_is_a_filter_or_refused(form: dict[str, Any]) -> None:
    with suppress(InvalidInput):
        assert isinstance(parse_filter(form), Filter)
