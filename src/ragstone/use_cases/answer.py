"""From passages to a checked answer: abstain or generate, then check the citations."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from ragstone.domain.answers import Answer, AnswerDone, AnswerEvent, PassagesFound, TextDelta, Usage
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Snapshot
from ragstone.domain.errors import InvalidInput
from ragstone.domain.generation import GeneratedText, GenerationRequest, GeneratorIdentity
from ragstone.domain.retrieval import Passage
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.generator import Generator
from ragstone.use_cases.answerability import FALLBACK, Calibration, Calibrations, measure
from ragstone.use_cases.citation_check import CitationCheck
from ragstone.use_cases.context import arrange, fit
from ragstone.use_cases.prompts import DEFAULT_PROMPT, Prompt, Prompts, RenderedPrompt

ABSTENTION = "The knowledge base does not hold an answer to this question."


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How an answer is made. `max_tokens` in the generator's tokens, `timeout` in seconds. `abstain` False answers even when the evidence is weak."""

    prompt: str = DEFAULT_PROMPT
    max_tokens: int = 512
    temperature: float = 0.0
    max_sentences: int = 2
    abstain: bool = True
    timeout: float = 120.0


class Answering:
    """Makes answers. `embedder`, which searches use too, should remember vectors (`adapters.embedding_cache`): the generator may ask for the same ones again."""

    def __init__(self, embedder: EmbeddingModel, generator: Generator, prompts: Prompts, calibrations: Calibrations) -> None:
        self.embedder = embedder
        self._generator = generator
        self._prompts = prompts
        self._calibrations = calibrations
        self._check = CitationCheck(embedder)

    @property
    def generator(self) -> GeneratorIdentity:
        """What writes the answers."""
        return self._generator.identity

    def threshold(self, collection: Collection, snapshot: Snapshot) -> float:
        """The answerability (0 to 1) below which a question is not answered in this snapshot's embedding space."""
        return self._calibration(collection, snapshot).threshold

    async def stream(
        self, question: str, collection: Collection, snapshot: Snapshot, passages: tuple[Passage, ...], settings: AnswerSettings
    ) -> AsyncGenerator[AnswerEvent, None]:
        """`PassagesFound`, `TextDelta`s, then one `AnswerDone`. `[n]` in the text is the nth of `passages`.

        Raises `NotFound` for an unknown prompt, `InvalidInput` for settings out of bounds, and what the generator raises.
        """
        _check_settings(settings)
        prompt = self._prompts.get(settings.prompt)
        yield PassagesFound(passages)
        calibration = self._calibration(collection, snapshot)
        answerability = calibration.probability(await measure(self.embedder, question, passages)) if passages else 0.0
        if not passages or (settings.abstain and answerability < calibration.threshold):
            yield TextDelta(ABSTENTION)
            yield AnswerDone(_abstained(answerability, Usage()))
            return
        request = self._request(question, passages, prompt, settings)
        parts: list[str] = []
        usage = Usage()
        async with aclosing(self._generator.stream(request)) as events:
            async for event in events:
                if isinstance(event, GeneratedText):
                    parts.append(event.text)
                    yield TextDelta(event.text)
                else:
                    usage = event.usage
        text = "".join(parts)
        if text.strip() in ("", ABSTENTION):
            yield AnswerDone(_abstained(answerability, usage))
            return
        checked = await self._check.check(text, request.passages, snapshot.commit_id)
        yield AnswerDone(
            Answer(
                text=text,
                abstained=False,
                grounded=checked.grounded,
                answerability=answerability,
                sentences=checked.sentences,
                citations=checked.citations,
                usage=usage,
            )
        )

    def _calibration(self, collection: Collection, snapshot: Snapshot) -> Calibration:
        for space in collection.spaces:
            if space.id == snapshot.space_id:
                return self._calibrations.of(space)
        return FALLBACK

    def _request(self, question: str, passages: tuple[Passage, ...], prompt: Prompt, settings: AnswerSettings) -> GenerationRequest:
        """The passages that fit the generator's window beside the prompt and the answer, rendered."""
        kept = passages
        rendered = _render(prompt, question, passages, settings) if self._generator.reads_prompt else RenderedPrompt("", "")
        if self._tokens(rendered) + settings.max_tokens > self._generator.context_window:
            bare = self._tokens(_render(prompt, question, (), settings))
            kept = fit(passages, self._generator.context_window - settings.max_tokens - bare, self._generator.count_tokens)
            if not kept:
                raise InvalidInput(
                    f"question: with max_tokens {settings.max_tokens} it leaves no room for a passage in the generator's window of "
                    f"{self._generator.context_window} tokens; shorten it or lower max_tokens.",
                    field="question",
                )
            rendered = _render(prompt, question, kept, settings)
        return GenerationRequest(
            question=question,
            passages=kept,
            system=rendered.system,
            user=rendered.user,
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            timeout=settings.timeout,
            max_sentences=settings.max_sentences,
        )

    def _tokens(self, rendered: RenderedPrompt) -> int:
        return self._generator.count_tokens(rendered.system) + self._generator.count_tokens(rendered.user)


def _render(prompt: Prompt, question: str, passages: tuple[Passage, ...], settings: AnswerSettings) -> RenderedPrompt:
    return prompt.render(question, arrange(passages), max_sentences=settings.max_sentences, abstention=ABSTENTION)


def _abstained(answerability: float, usage: Usage) -> Answer:
    """An answer that claims nothing, so nothing in it is unsupported."""
    return Answer(ABSTENTION, abstained=True, grounded=1.0, answerability=answerability, sentences=(), citations=(), usage=usage)


def _check_settings(settings: AnswerSettings) -> None:
    bounds = (
        ("max_tokens", settings.max_tokens, 1, 1_000_000),
        ("temperature", settings.temperature, 0.0, 2.0),
        ("max_sentences", settings.max_sentences, 1, 50),
        ("timeout", settings.timeout, 0.001, 86_400.0),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high:  # NaN fails too
            raise InvalidInput(f"{name}: it must be from {low} to {high}.", field=name)
