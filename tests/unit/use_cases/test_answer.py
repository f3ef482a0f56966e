"""From passages to a checked answer."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from ragstone.adapters.extractive import ExtractiveGenerator
from ragstone.domain.answers import Answer, AnswerDone, AnswerEvent, PassagesFound, TextDelta, TextWithdrawn
from ragstone.domain.deadline import deadline, remaining
from ragstone.domain.errors import Busy, InvalidInput, NotFound, RagstoneError, Unavailable
from ragstone.domain.retrieval import Passage
from ragstone.ports.generator import Generator
from ragstone.use_cases.answer import ABSTENTION, Answering, AnswerSettings
from ragstone.use_cases.answerability import FALLBACK, Calibration, Calibrations
from ragstone.use_cases.prompts import Prompts
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.generator import ScriptedGenerator
from tests.support.passages import collection_and_snapshot, passages
from tests.support.points import space

COLLECTION, SNAPSHOT = collection_and_snapshot()
FOUND = passages("The rescue boat is orange. It is launched at once.", "Dogs travel free of charge.")
QUESTION = "Which colour is the rescue boat?"


def answering(generator: Generator | None = None, threshold: float | None = None) -> Answering:
    model = HashingEmbeddingModel()
    own = () if threshold is None else (Calibration("own/1", "", space().id, FALLBACK.weights, FALLBACK.intercept, threshold),)
    return Answering(model, generator or ExtractiveGenerator(model), Prompts(), Calibrations(own=own))


async def events(
    use_case: Answering, question: str = QUESTION, found: tuple[Passage, ...] = FOUND, settings: AnswerSettings | None = None
) -> list[AnswerEvent]:
    return [event async for event in use_case.stream(question, COLLECTION, SNAPSHOT, found, settings or AnswerSettings())]


def last(of: list[AnswerEvent]) -> Answer:
    assert isinstance(of[-1], AnswerDone)
    return of[-1].answer


async def test_passages_then_text_then_the_checked_answer() -> None:
    found = await events(answering())
    assert found[0] == PassagesFound(FOUND)
    assert all(isinstance(event, TextDelta) for event in found[1:-1])
    answer = last(found)
    assert answer.text == "".join(event.text for event in found if isinstance(event, TextDelta))
    assert answer.text == "The rescue boat is orange. [1]"
    assert (answer.abstained, answer.grounded) == (False, 1.0)
    assert answer.citations[0].quote == "The rescue boat is orange."
    assert answer.citations[0].commit_id == SNAPSHOT.commit_id
    assert answer.usage.completion_tokens == 5


async def test_below_the_threshold_it_says_so_and_asks_no_generator() -> None:
    generator = ScriptedGenerator()
    found = await events(answering(generator, threshold=0.999), "Who founded Rome?")
    assert found[:2] == [PassagesFound(FOUND), TextDelta(ABSTENTION)]
    answer = last(found)
    assert answer.abstained
    assert answer.text == ABSTENTION
    assert (answer.citations, answer.sentences) == ((), ())
    assert 0 < answer.answerability < 0.999
    assert generator.requests == []


async def test_abstention_can_be_turned_off() -> None:
    answer = last(await events(answering(threshold=1.0), settings=AnswerSettings(abstain=False)))
    assert not answer.abstained
    assert answer.answerability < 1.0


@pytest.mark.parametrize("abstain", [True, False])
async def test_without_passages_there_is_never_an_answer(abstain: bool) -> None:
    answer = last(await events(answering(ScriptedGenerator(["Rome. [1]"])), found=(), settings=AnswerSettings(abstain=abstain)))
    assert answer.abstained
    assert answer.answerability == 0.0


@pytest.mark.parametrize("text", [ABSTENTION, f" {ABSTENTION}\n", "", "  "])
async def test_a_generator_that_finds_no_answer_abstains(text: str) -> None:
    assert last(await events(answering(ScriptedGenerator([text])))).abstained


async def test_invented_sentences_lower_grounded() -> None:
    answer = last(await events(answering(ScriptedGenerator(["The rescue boat is orange. [1] ", "It was built in Rome in 1999. [2]"]))))
    assert [sentence.supported for sentence in answer.sentences] == [True, False]
    assert answer.grounded == 0.5


async def test_numbers_in_the_prompt_are_places_among_the_passages_found() -> None:
    generator = ScriptedGenerator()
    await events(answering(generator))
    (asked,) = generator.requests
    assert asked.passages == FOUND
    assert asked.user.index('<passage number="1">\nThe rescue boat') < asked.user.index('<passage number="2">\nDogs')


async def test_the_context_stays_within_the_generators_window() -> None:
    generator = ScriptedGenerator(context_window=400)
    await events(
        answering(generator),
        found=passages(*["The rescue boat " + "word " * 100] * 5),
        settings=AnswerSettings(max_tokens=50, abstain=False),
    )
    (asked,) = generator.requests
    assert 1 <= len(asked.passages) < 5
    assert generator.count_tokens(asked.system) + generator.count_tokens(asked.user) + 50 <= 400


async def test_a_window_too_small_for_any_passage_is_refused() -> None:
    with pytest.raises(InvalidInput) as raised:
        await events(answering(ScriptedGenerator(context_window=520)))
    assert raised.value.field == "question"


async def test_an_unknown_prompt_is_refused_before_anything_is_sent() -> None:
    generator = answering(ScriptedGenerator()).stream(QUESTION, COLLECTION, SNAPSHOT, FOUND, AnswerSettings(prompt="answer/9"))
    with pytest.raises(NotFound):
        await anext(generator)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (AnswerSettings(max_tokens=0), "max_tokens"),
        (AnswerSettings(temperature=-0.1), "temperature"),
        (AnswerSettings(temperature=float("nan")), "temperature"),
        (AnswerSettings(max_sentences=0), "max_sentences"),
        (AnswerSettings(timeout=0), "timeout"),
        (AnswerSettings(timeout=float("inf")), "timeout"),
    ],
)
async def test_settings_out_of_bounds_are_named(settings: AnswerSettings, field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await events(answering(), settings=settings)
    assert raised.value.field == field


async def test_what_the_generator_raises_reaches_the_caller() -> None:
    with pytest.raises(Unavailable):
        await events(answering(ScriptedGenerator(["The "], error=Unavailable("gone"))))


async def test_closing_the_stream_closes_the_generators() -> None:
    generator = ScriptedGenerator(["The ", "rescue "], blocks=True)
    async with aclosing(answering(generator).stream(QUESTION, COLLECTION, SNAPSHOT, FOUND, AnswerSettings())) as found:
        async for event in found:
            if isinstance(event, TextDelta):
                break
    assert generator.closed == 1


def test_the_threshold_is_that_of_the_snapshots_space() -> None:
    assert answering(threshold=0.7).threshold(COLLECTION, SNAPSHOT) == 0.7
    assert answering().threshold(COLLECTION, SNAPSHOT) == FALLBACK.threshold


def degrading(generator: Generator) -> Answering:
    model = HashingEmbeddingModel()
    return Answering(model, generator, Prompts(), Calibrations(), ExtractiveGenerator(model))


async def test_without_its_generator_the_answer_is_made_of_quotations_and_says_so() -> None:
    use_case = degrading(ScriptedGenerator([], error=Unavailable("gone")))
    found = await events(use_case)
    answer = last(found)
    assert answer.text == last(await events(answering())).text
    assert answer.degraded == ("generation",)
    assert use_case.writer(answer).kind == "extractive"
    assert use_case.generator.kind == "scripted"
    assert TextWithdrawn() not in found  # there was nothing to withdraw


async def test_what_a_generator_wrote_before_it_broke_off_is_withdrawn() -> None:
    found = await events(degrading(ScriptedGenerator(["The boat ", "is gr"], error=Unavailable("gone"))))
    at = found.index(TextWithdrawn())
    assert found[1:at] == [TextDelta("The boat "), TextDelta("is gr")]
    assert "".join(event.text for event in found[at:] if isinstance(event, TextDelta)) == last(found).text
    assert "gr [" not in last(found).text


async def test_an_answer_of_the_generator_is_not_degraded() -> None:
    use_case = degrading(ScriptedGenerator(["The rescue boat is orange. [1]"]))
    answer = last(await events(use_case))
    assert (answer.degraded, use_case.writer(answer).kind) == ((), "scripted")


@pytest.mark.parametrize("error", [InvalidInput("too many tokens"), Busy("later")])
async def test_a_refusal_of_the_request_or_a_full_generator_is_no_outage(error: RagstoneError) -> None:
    with pytest.raises(type(error)):
        await events(degrading(ScriptedGenerator([], error=error)))


async def test_a_generator_leaves_time_for_the_answer_without_it() -> None:
    generator = ScriptedGenerator([], blocks=True)
    with deadline(0.2):
        answer = last(await events(degrading(generator)))
        assert (remaining() or 0) > 0
    assert answer.degraded == ("generation",)
    assert 0 < generator.requests[0].timeout <= 0.1


async def test_the_log_tells_when_the_generator_goes_and_comes_not_each_answer(caplog: pytest.LogCaptureFixture) -> None:
    generator = ScriptedGenerator(["The rescue boat is orange. [1]"], error=Unavailable("gone"))
    use_case = degrading(generator)
    for error in (Unavailable("gone"), Unavailable("gone"), None, None):
        generator.error = error
        await events(use_case)
    assert [record.message for record in caplog.records] == [
        "answers are extractive until the generator answers again: gone",
        "the generator answers again",
    ]
