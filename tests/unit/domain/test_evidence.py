"""The shortlist of sentences and the coverage of the question."""

from __future__ import annotations

import numpy as np
import pytest

from ragstone.domain.evidence import gather, scores, sentences_of
from tests.support.passages import passage, passages


def test_sentences_are_spans_of_the_chunk_without_bullets() -> None:
    text = "Two things:\n\n- First item\n- Second item. And more."
    found = sentences_of(text)
    assert [sentence.text for sentence in found] == ["Two things:", "First item", "Second item.", "And more."]
    assert all(text[sentence.start : sentence.end] == sentence.text for sentence in found)


def test_a_colon_takes_along_what_it_announces_if_short() -> None:
    assert [s.text for s in sentences_of("Call it like this:\n\nfoo(bar)\n\nDone.")] == ["Call it like this:\n\nfoo(bar)", "Done."]
    assert len(sentences_of("Call it like this:\n\n" + "word " * 80)) == 2


def test_the_shortlist_is_bounded_and_best_first() -> None:
    found = passages(*(f"Filler {n}. More filler {n}." for n in range(9)), "The rescue boat is orange.")
    evidence = gather("Which colour is the rescue boat?", found, size=3)
    assert len(evidence.shortlist) == 3
    assert evidence.shortlist[0].sentence.text == "The rescue boat is orange."
    assert evidence.shortlist[0].passage == 9
    assert [c.prior for c in evidence.shortlist] == sorted((c.prior for c in evidence.shortlist), reverse=True)


def test_equal_sentences_are_taken_once_from_the_best_passage() -> None:
    evidence = gather("rescue boat", passages("The rescue boat floats.", "The rescue boat floats.", "Else."))
    assert [(c.sentence.text, c.passage) for c in evidence.shortlist] == [("The rescue boat floats.", 0), ("Else.", 2)]


def test_a_title_in_the_questions_own_words_is_no_candidate() -> None:
    evidence = gather("What is lost property?", passages("LOST PROPERTY\n\nThings found on board."))
    assert [c.sentence.text for c in evidence.shortlist] == ["Things found on board."]


def test_rare_terms_weigh_more_than_common_ones() -> None:
    found = passages("Petrel is blue. Petrel is old. Petrel is fast. Petrel sails daily. Every cabin is heated.")
    assert gather("Is there a cabin on Petrel?", found).shortlist[0].sentence.text == "Every cabin is heated."


@pytest.mark.parametrize(
    ("question", "low", "high"), [("rescue boat colour", 0.0, 0.99), ("rescue boat", 1.0, 1.0), ("submarine", 0.0, 0.0)]
)
def test_coverage_is_the_share_of_the_question_in_the_best_passage(question: str, low: float, high: float) -> None:
    assert low <= gather(question, passages("The rescue boat floats.", "Else.")).coverage <= high


def test_headings_count_for_coverage_and_are_embedded_with_the_sentence() -> None:
    evidence = gather("What is the fare to Gull Island?", (passage("Adults pay 8 pounds.", headings=("Fares", "Gull Island")),))
    assert evidence.coverage == 1.0
    assert evidence.shortlist[0].embedded_text == "Gull Island\nAdults pay 8 pounds."


def test_no_passages_no_evidence() -> None:
    assert gather("Anything?", ()) == gather("", ())
    assert gather("Anything?", ()).shortlist == ()


def test_scores_that_are_all_zero_or_negative_do_no_harm() -> None:
    assert len(gather("boat", (passage("A boat.", score=0.0), passage("No.", score=-1.0))).shortlist) == 2


def test_the_cosine_moves_the_score() -> None:
    shortlist = gather("boat", passages("A boat floats. A boat sinks.")).shortlist
    vectors = np.eye(2, dtype=np.float32)
    first, second = scores(shortlist, vectors[1], vectors)
    assert second - shortlist[1].prior > first - shortlist[0].prior
