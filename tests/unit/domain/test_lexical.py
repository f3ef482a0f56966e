"""Terms, numbers and negations."""

from __future__ import annotations

import pytest

from ragstone.domain.lexical import negated, numbers, question_terms, terms


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Sailing", "sailings"),
        ("licensed", "licenses"),
        ("fares", "fare"),
        ("dogs", "dog"),
        ("Tesla's", "Tesla"),
        ("Tesla’s", "tesla"),
        ("Geschwindigkeit", "geschwindigkeiten"),
    ],
)
def test_forms_of_a_word_are_one_term(one: str, other: str) -> None:
    assert terms(one) == terms(other) != frozenset()


@pytest.mark.parametrize(("one", "other"), [("bus", "bu"), ("glass", "glas"), ("gas", "ga"), ("fare", "fair")])
def test_other_words_are_others(one: str, other: str) -> None:
    assert terms(one) != terms(other)


def test_stop_words_are_left_out_but_a_question_of_nothing_else_keeps_them() -> None:
    assert terms("Who is who?") == frozenset()
    assert question_terms("Who is who?") == {"who", "is"}
    assert question_terms("Who is Tesla?") == {"tesla"}


def test_text_without_spaces_gives_pairs_of_characters() -> None:
    assert terms("東京都に") == {"東京", "京都", "都に"}
    assert terms("東京") & terms("東京都") == {"東京"}


def test_numbers_are_compared_without_thousands_separators() -> None:
    assert numbers("1,200 of 3.5 at 24/7 or 10:30, and 1,2") == {"1200", "3.5", "24/7", "10:30", "1,2"}


@pytest.mark.parametrize("text", ["It is not so.", "They can't.", "They can’t.", "No dogs.", "Cannot be.", "Never!"])
def test_negations(text: str) -> None:
    assert negated(text)


@pytest.mark.parametrize("text", ["Nothern lights", "Notes on knots", "A north wind", "Know"])
def test_words_that_only_look_like_negations(text: str) -> None:
    assert not negated(text)
