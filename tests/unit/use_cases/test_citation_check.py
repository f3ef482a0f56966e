"""The citation check: what counts as supported, and where citations point."""

from __future__ import annotations

import time

import pytest

from ragstone.use_cases.citation_check import CheckedAnswer, CitationCheck
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support.passages import passage

TEXT = "Petrel sails daily. It does not sail above 38 knots of wind.\nDogs travel\nfree of charge, on a lead."
FOUND = (
    passage(TEXT, path="ferry.md", start=100, headings=("Ferries", "Petrel"), score=0.9),
    passage("Sandpiper carries 120 passengers and 1,500 kg of freight. Alcohol is not allowed on board.", path="other.md"),
)


async def check(answer: str) -> CheckedAnswer:
    return await CitationCheck(HashingEmbeddingModel()).check(answer, FOUND, "commit-9")


async def test_a_verbatim_sentence_is_supported_and_cited_with_its_own_span() -> None:
    checked = await check("It does not sail above 38 knots of wind. [1]")
    (sentence,), (citation,) = checked.sentences, checked.citations
    assert (sentence.supported, sentence.support, sentence.markers, checked.grounded) == (True, 1.0, (1,), 1.0)
    start = TEXT.index("It does")
    assert (citation.start, citation.end) == (100 + start, 100 + start + len("It does not sail above 38 knots of wind."))
    assert citation.quote == "It does not sail above 38 knots of wind."
    assert (citation.path, citation.heading_path, citation.commit_id, citation.score) == (
        "ferry.md",
        ("Ferries", "Petrel"),
        "commit-9",
        0.9,
    )
    assert citation.chunk_id == FOUND[0].chunk.id


async def test_white_space_makes_no_difference_and_the_quote_is_the_documents() -> None:
    checked = await check("Dogs travel free of charge, on a lead. [1]")
    assert checked.grounded == 1.0
    assert checked.citations[0].quote == "Dogs travel\nfree of charge, on a lead."


async def test_a_paraphrase_is_supported_and_cited_with_the_whole_passage() -> None:
    checked = await check("Sandpiper carries 120 passengers and 1500 kg freight [2].")
    assert checked.sentences[0].supported
    assert 0.6 <= checked.sentences[0].support < 1
    assert checked.citations[0].quote == FOUND[1].chunk.text


@pytest.mark.parametrize(
    "answer",
    [
        "Sandpiper carries 120 passengers and 1,500 kg of freight.",  # no marker
        "Sandpiper carries 120 passengers and 1,500 kg of freight. [1]",  # the wrong passage
        "Sandpiper carries 120 passengers and 1,500 kg of freight. [9]",  # no such passage
        "Sandpiper carries 130 passengers and 1,500 kg of freight. [2]",  # another number
        "Sandpiper never carries 120 passengers and 1,500 kg of freight. [2]",  # negated
        "Alcohol is allowed on board. [2]",  # its negation lost
        "allowed on board. [2]",  # cut out of its negation
        "Rome was founded by Romulus and Remus. [2]",
    ],
)
async def test_what_the_cited_passage_does_not_say_is_flagged(answer: str) -> None:
    checked = await check(answer)
    assert [sentence.supported for sentence in checked.sentences] == [False]
    assert checked.grounded == 0.0


async def test_markers_without_a_passage_are_removed() -> None:
    checked = await check("Petrel sails daily. [1][7] Dogs bark. [0]")
    assert [sentence.markers for sentence in checked.sentences] == [(1,), ()]
    assert [citation.marker for citation in checked.citations] == [1]


async def test_grounded_is_the_share_of_supported_sentences() -> None:
    checked = await check("Petrel sails daily. [1] Rome is old. [2] Dogs travel free of charge, on a lead. [1] Cats swim.")
    assert checked.grounded == 0.5


async def test_the_same_span_is_cited_once() -> None:
    assert len((await check("Petrel sails daily. [1] Petrel sails daily. [1]")).citations) == 1


async def test_a_marker_inside_a_sentence_does_not_end_it() -> None:
    checked = await check("Petrel sails [1] under the old flag of ancient Rome [1].")
    assert [(sentence.text, sentence.supported) for sentence in checked.sentences] == [
        ("Petrel sails under the old flag of ancient Rome.", False)
    ]


async def test_half_a_word_is_not_verbatim() -> None:
    checked = await check("etrel sails dail [1]")
    assert checked.sentences[0].support < 1


@pytest.mark.parametrize("answer", ["", "[1]", "   "])
async def test_no_sentence_is_not_grounded(answer: str) -> None:
    assert await check(answer) == CheckedAnswer((), (), 0.0)


async def test_verbatim_answers_need_no_model() -> None:
    model = HashingEmbeddingModel()
    await CitationCheck(model).check("Petrel sails daily. [1] Nothing cited.", FOUND, "c")
    assert model.calls == 0


async def test_everything_else_is_embedded_in_one_call() -> None:
    model = HashingEmbeddingModel()
    await CitationCheck(model).check("Petrel goes daily [1]. Sandpiper has 120 seats [2]. Both float [1][2].", FOUND, "c")
    assert model.calls == 1


async def test_an_answer_of_nothing_but_markers_is_checked_in_no_time() -> None:
    began = time.perf_counter()
    checked = await check("Petrel" + " sails [1][2]" * 300)
    assert time.perf_counter() - began < 5  # seconds; minutes when every combination is tried
    assert len(checked.sentences) == 1
