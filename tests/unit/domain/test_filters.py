"""The meaning of filters."""

from __future__ import annotations

import pytest

from ragstone.domain.filters import Condition, Equals, Exists, Filter, Not, OneOf, PathPrefix, Range, matches

VALUES = {
    "path": "docs/a.md",
    "year": 2024,
    "score": 1.5,
    "draft": True,
    "lang": "en",
    "tags": ("x", "y"),
    "none": None,
    "empty": (),
    "word": "",
}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Equals("year", 2024), True),
        (Equals("year", 2024.0), True),
        (Equals("year", "2024"), False),
        (Equals("draft", True), True),
        (Equals("draft", 1), False),
        (Equals("score", True), False),
        (Equals("tags", "y"), True),
        (Equals("tags", "z"), False),
        (Equals("missing", ""), False),
        (Equals("none", ""), False),
        (Equals("path", "docs/a.md"), True),
        (Equals("word", ""), True),
        (Equals("year", float("nan")), False),
        (OneOf("lang", ("de", "en")), True),
        (OneOf("lang", ()), False),
        (Range("year", gte=2024, lt=2025), True),
        (Range("year", gt=2024), False),
        (Range("year", lte=2023), False),
        (Range("score", gt=1, lt=2), True),
        (Range("lang", gte=0), False),
        (Range("draft", gte=0), False),
        (Range("year"), True),
        (Range("missing"), False),
        (Exists("year"), True),
        (Exists("missing"), False),
        (Exists("none"), False),
        (Exists("empty"), False),
        (Exists("word"), True),
        (Exists("missing", present=False), True),
        (PathPrefix("docs/"), True),
        (PathPrefix("doc/"), False),
        (Not(Equals("lang", "en")), False),
        (Not(Not(Equals("lang", "en"))), True),
        (Not(Range("missing", gt=0)), True),
    ],
)
def test_conditions(condition: Condition, holds: bool) -> None:
    assert matches(Filter((condition,)), VALUES) is holds


def test_all_conditions_of_a_filter_must_hold_and_none_let_everything_through() -> None:
    assert matches(Filter(), VALUES)
    assert matches(Filter((Equals("lang", "en"), Range("year", gt=2000))), VALUES)
    assert not matches(Filter((Equals("lang", "en"), Range("year", gt=2030))), VALUES)


def test_numbers_are_compared_as_doubles() -> None:
    assert matches(Filter((Equals("n", 2**53),)), {"n": 2**53 + 1})
    assert matches(Filter((Range("n", gt=1e300),)), {"n": 10**400})
    assert not matches(Filter((Range("n", gt=1e300),)), {"n": -(10**400)})
