"""What the extractive generator picks and how it writes it down."""

from __future__ import annotations

from ragstone.adapters.embedding_cache import EmbeddingCache
from ragstone.adapters.extractive import ExtractiveGenerator
from ragstone.domain.evidence import SHORTLIST
from ragstone.domain.generation import GeneratedText, GenerationFinished
from ragstone.domain.retrieval import Passage
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support.passages import passage, passages, request

FERRY = passages(
    "Petrel was built in 2011. It does not sail above 38 knots of wind. Dogs travel free of charge.",
    "Sandpiper carries 120 passengers.\nSandpiper does not sail above 30 knots of wind.",
)


async def answer(question: str, found: tuple[Passage, ...], **changes: object) -> str:
    events = [e async for e in ExtractiveGenerator(HashingEmbeddingModel()).stream(request(question, found, **changes))]
    assert isinstance(events[-1], GenerationFinished)
    return "".join(event.text for event in events if isinstance(event, GeneratedText))


async def test_it_quotes_and_cites_the_sentence_that_answers() -> None:
    assert await answer("How many passengers does Sandpiper carry?", FERRY, max_sentences=1) == "Sandpiper carries 120 passengers. [2]"


async def test_a_pronoun_is_understood_from_the_sentence_before() -> None:
    assert "It does not sail above 38 knots of wind. [1]" in await answer("Above which wind does Petrel not sail?", FERRY, max_sentences=1)


async def test_a_second_sentence_only_when_it_is_nearly_as_good() -> None:
    assert (await answer("Do dogs travel free of charge?", FERRY)).count("[") == 1
    both = await answer("Above how many knots of wind do Petrel and Sandpiper not sail?", FERRY)
    assert both.count("[") == 2
    assert "38 knots" in both
    assert "30 knots" in both


async def test_sentences_of_one_passage_come_in_its_order() -> None:
    found = passages("The pump stops when oil is hot. Soon the pump stops when oil is thin.")
    both = await answer("When does oil stop the pump?", found)
    assert both == "The pump stops when oil is hot. [1] Soon the pump stops when oil is thin. [1]"
    assert await answer("When does oil stop the pump?", found, max_sentences=1) == "Soon the pump stops when oil is thin. [1]"


async def test_line_breaks_inside_a_sentence_become_spaces() -> None:
    assert await answer("Who won?", passages("Denver won\nthe game.")) == "Denver won the game. [1]"


async def test_max_tokens_bounds_the_further_sentences_not_the_first() -> None:
    text = await answer("Above how many knots of wind do Petrel and Sandpiper not sail?", FERRY, max_tokens=3)
    assert text.count("[") == 1


async def test_nothing_to_quote_gives_no_text() -> None:
    assert await answer("Anything?", ()) == ""


async def test_headings_help_to_find_a_bare_list_item() -> None:
    found = (
        passage("- blankets\n- a torch", headings=("Handbook", "Fire in the galley"), path="a.md"),
        passage("- ropes\n- a hook", headings=("Handbook", "Person overboard"), path="b.md", rank=2, score=0.95),
    )
    assert "[2]" in await answer("What is needed for a person overboard?", found, max_sentences=1)


async def test_it_embeds_no_more_than_the_shortlist_and_nothing_twice() -> None:
    model = HashingEmbeddingModel()
    generator = ExtractiveGenerator(EmbeddingCache(model))
    found = passages(*(f"Quartz number {n} is here. Gold number {n} is there. Oil {n} too." for n in range(8)))
    for _ in range(2):
        [event async for event in generator.stream(request("Where is quartz?", found))]
    assert model.embedded_texts <= SHORTLIST
    assert model.queries == 1


async def test_usage_counts_words() -> None:
    events = [e async for e in ExtractiveGenerator(HashingEmbeddingModel()).stream(request("Who won?", passages("Denver won the game.")))]
    assert isinstance(events[-1], GenerationFinished)
    assert (events[-1].usage.prompt_tokens, events[-1].usage.completion_tokens) == (6, 4)
