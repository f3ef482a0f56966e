"""From passages to a checked answer: abstain or generate, then check the citations."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from ragstone.domain.answers import GENERATION, Answer, AnswerDone, AnswerEvent, PassagesFound, TextDelta, TextWithdrawn, Usage
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Snapshot
from ragstone.domain.deadline import remaining
from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.domain.generation import GeneratedText, GenerationRequest, GeneratorIdentity
from ragstone.domain.retrieval import Passage
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.generator import Generator
from ragstone.use_cases.answerability import FALLBACK, Calibration, Calibrations, measure
from ragstone.use_cases.citation_check import CitationCheck
from ragstone.use_cases.context import arrange, fit
from ragstone.use_cases.prompts import DEFAULT_PROMPT, Prompt, Prompts, RenderedPrompt
from ragstone.use_cases.rewriting import Rewriter

ABSTENTION = "The knowledge base does not hold an answer to this question."
_RESERVED = 5.0  # seconds of a request that its generator does not get: for the answer without it, the check and the log
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How an answer is made. `max_tokens` in the generator's tokens, `timeout` in seconds. `abstain` False answers even when the evidence is weak."""

    prompt: str = DEFAULT_PROMPT
    max_tokens: int = 512
    temperature: float = 0.0
    max_sentences: int = 2
    abstain: bool = True
    timeout: float = 120.0


@dataclass(frozen=True, slots=True)
class _Written:
    """Everything that a generator wrote."""

    text: str
    usage: Usage
    degraded: tuple[str, ...] = ()


class Answering:
    """Makes answers. `embedder`, which searches use too, should remember vectors (`adapters.embedding_cache`): the generator may ask for the same ones again.

    `further`: models of spaces that `embedder` is not the model of, as for searches. `fallback` answers while `generator` is down (ADR 0018); it works from question and passages alone and calls no server.
    """

    def __init__(
        self,
        embedder: EmbeddingModel,
        generator: Generator,
        prompts: Prompts,
        calibrations: Calibrations,
        fallback: Generator | None = None,
        further: Sequence[EmbeddingModel] = (),
    ) -> None:
        self.embedder = embedder
        self.further = tuple(further)
        self._generator = generator
        self._fallback = fallback
        self._is_down = False
        self._prompts = prompts
        self._calibrations = calibrations
        self._check = CitationCheck(embedder)
        self.rewriter = Rewriter(generator, prompts)

    @property
    def generator(self) -> GeneratorIdentity:
        """What writes the answers."""
        return self._generator.identity

    def writer(self, answer: Answer) -> GeneratorIdentity:
        """What wrote this answer: while the generator is down, the fallback."""
        return self._fallback.identity if self._fallback and GENERATION in answer.degraded else self._generator.identity

    async def check(self) -> None:
        """Raises `Unavailable` while the generator does not answer."""
        await self._generator.check()

    def threshold(self, collection: Collection, snapshot: Snapshot) -> float:
        """The answerability (0 to 1) below which a question is not answered in this snapshot's embedding space."""
        return self._calibration(collection, snapshot).threshold

    async def stream(
        self, question: str, collection: Collection, snapshot: Snapshot, passages: tuple[Passage, ...], settings: AnswerSettings
    ) -> AsyncGenerator[AnswerEvent, None]:
        """`PassagesFound`, `TextDelta`s, then one `AnswerDone`. `[n]` in the text is the nth of `passages`.

        Where the generator is down, the fallback answers, and the answer is `degraded`; `TextWithdrawn` comes before its text when the generator
        broke off in the middle of its own. Raises `NotFound` for an unknown prompt, `InvalidInput` for settings out of bounds or that the generator
        refuses, `Busy` when it has too much to do, and `Unavailable` without a fallback.
        """
        _check_settings(settings)
        prompt = self._prompts.get(settings.prompt)
        yield PassagesFound(passages)
        calibration = self._calibration(collection, snapshot)
        answerability = calibration.probability(await measure(self._model(collection, snapshot), question, passages)) if passages else 0.0
        if not passages or (settings.abstain and answerability < calibration.threshold):
            yield TextDelta(ABSTENTION)
            yield AnswerDone(_abstained(answerability, Usage()))
            return
        request = self._request(question, passages, prompt, settings)
        text, usage = "", Usage()
        degraded: tuple[str, ...] = ()
        async with aclosing(self._write(request)) as events:
            async for event in events:
                if isinstance(event, _Written):
                    text, usage, degraded = event.text, event.usage, event.degraded
                else:
                    yield event
        if text.strip() in ("", ABSTENTION):
            yield AnswerDone(_abstained(answerability, usage, degraded))
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
                degraded=degraded,
            )
        )

    async def _write(self, request: GenerationRequest) -> AsyncGenerator[TextDelta | TextWithdrawn | _Written, None]:
        """The text in pieces, then all of it."""
        begun = False
        try:
            async with aclosing(_generate(self._generator, request)) as events:
                async for event in events:
                    begun = True
                    yield event
        except Unavailable as error:
            if self._fallback is None:
                raise
            self._note(error)
        else:
            self._note(None)
            return
        if begun:
            yield TextWithdrawn()
        async with aclosing(_generate(self._fallback, request)) as events:
            async for event in events:
                yield replace(event, degraded=(GENERATION,)) if isinstance(event, _Written) else event

    def _note(self, error: Unavailable | None) -> None:
        """Once when it goes, once when it is back: each answer says so itself."""
        if self._is_down is (error is not None):
            return
        self._is_down = error is not None
        if error is not None:
            _log.warning("answers are extractive until the generator answers again: %s", error.message)
        else:
            _log.warning("the generator answers again")

    def _calibration(self, collection: Collection, snapshot: Snapshot) -> Calibration:
        for space in collection.spaces:
            if space.id == snapshot.space_id:
                return self._calibrations.of(space)
        return FALLBACK

    def _model(self, collection: Collection, snapshot: Snapshot) -> EmbeddingModel:
        """The model of the snapshot's space, which its calibration was fitted with."""
        models = {space.id: space.model for space in collection.spaces}
        return next((model for model in self.further if model.identity == models.get(snapshot.space_id)), self.embedder)

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
            timeout=_time_for(settings.timeout),
            max_sentences=settings.max_sentences,
        )

    def _tokens(self, rendered: RenderedPrompt) -> int:
        return self._generator.count_tokens(rendered.system) + self._generator.count_tokens(rendered.user)


async def _generate(generator: Generator, request: GenerationRequest) -> AsyncGenerator[TextDelta | _Written, None]:
    parts: list[str] = []
    usage = Usage()
    async with aclosing(generator.stream(request)) as events:
        async for event in events:
            if isinstance(event, GeneratedText):
                parts.append(event.text)
                yield TextDelta(event.text)
            else:
                usage = event.usage
    yield _Written("".join(parts), usage)


def _render(prompt: Prompt, question: str, passages: tuple[Passage, ...], settings: AnswerSettings) -> RenderedPrompt:
    return prompt.render(question, arrange(passages), max_sentences=settings.max_sentences, abstention=ABSTENTION)


def _abstained(answerability: float, usage: Usage, degraded: tuple[str, ...] = ()) -> Answer:
    """An answer that claims nothing, so nothing in it is unsupported."""
    return Answer(
        ABSTENTION, abstained=True, grounded=1.0, answerability=answerability, sentences=(), citations=(), usage=usage, degraded=degraded
    )


def _time_for(timeout: float) -> float:
    """Seconds for the generator: its own, or what the request can spare."""
    left = remaining()
    return timeout if left is None else min(timeout, max(left - min(_RESERVED, left / 2), 0.001))


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
