"""`key=value` on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from ragstone.cli.values import filter_of, pairs
from ragstone.domain.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024", 2024),
        ("1.5", 1.5),
        ("true", True),
        ("ops", "ops"),
        ('"2024"', "2024"),
        ("", ""),
        ("a=b", "a=b"),
        ("null", "null"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("[1]", "[1]"),
        ("1e999", "1e999"),
    ],
)
def test_values_are_read_as_json_scalars_or_text(text: str, value: object) -> None:
    read = pairs([f"key={text}"], "--metadata")
    assert read == {"key": value}
    assert type(read["key"]) is type(value)


def test_a_key_given_twice_is_a_list_of_texts_or_any_of() -> None:
    assert pairs(["tag=a", "tag=2"], "--metadata") == {"tag": ["a", "2"]}
    assert filter_of(["tag=a", "tag=2", "team=ops"], None) == {"tag": {"in": ["a", 2]}, "team": "ops"}


def test_a_filter_takes_json_conditions_too() -> None:
    assert filter_of(["team=ops"], '{"year": {"gte": 2024}}') == {"team": "ops", "year": {"gte": 2024}}
    assert filter_of([], None) is None


@pytest.mark.parametrize(
    ("given", "document", "words"),
    [
        (["team"], None, "not key=value"),
        (["=x"], None, "not key=value"),
        ([], "{", "not JSON"),
        ([], "[1]", "give an object"),
        (["team=a"], '{"team": "b"}', "give it once"),
    ],
)
def test_what_cannot_be_read_is_refused(given: list[str], document: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        filter_of(given, document)
