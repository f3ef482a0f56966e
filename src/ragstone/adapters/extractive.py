"""The default generator: answers with verbatim sentences of the passages, chosen by words, passage score and embedding model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from ragstone.domain.answers import Usage
from ragstone.domain.errors import Unavailable
from ragstone.domain.evidence import Candidate, gather, scores
from ragstone.domain.generation import GeneratedText, GenerationEvent, GenerationFinished, GenerationRequest, GeneratorIdentity
from ragstone.ports.embedding_model import EmbeddingModel

_REVISION = "1"  # rises with every change of what would be answered
_MARGIN = 1.5  # a further sentence is given only when its score is this near the best one's (docs/adr/0008)
_WINDOW = 2**20  # words; it reads passages, not a prompt, so nothing has to be left out


class ExtractiveGenerator:
    """`Generator` that never makes anything up. Its tokens are words. Temperature and the rendered prompt do not concern it.

    Hand it an `EmbeddingCache`: the sentences it looks at are those that the check of answerability looked at just before.
    """

    def __init__(self, embedder: EmbeddingModel) -> None:
        self._embedder = embedder

    @property
    def identity(self) -> GeneratorIdentity:
        """Kind `extractive`; the name holds the embedding model's."""
        return GeneratorIdentity("extractive", f"extractive ({self._embedder.identity.name})", _REVISION)

    @property
    def context_window(self) -> int:
        """In words; far beyond any number of passages."""
        return _WINDOW

    @property
    def reads_prompt(self) -> bool:
        """False."""
        return False

    def count_tokens(self, text: str) -> int:
        """Words, separated by white space."""
        return len(text.split())

    async def check(self) -> None:
        """Nothing is between."""

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """One piece per sentence, each followed by ` [n]`. Sentences of one passage come in its order."""
        try:
            async with asyncio.timeout(request.timeout):
                chosen = await self._choose(request)
        except TimeoutError as error:
            raise Unavailable("The embedding model did not answer in time to choose sentences; try again.") from error
        read = sum(self.count_tokens(passage.chunk.text) for passage in request.passages)
        written = 0
        for place, candidate in enumerate(chosen):
            text = " ".join(candidate.sentence.text.split())
            written += self.count_tokens(text)
            yield GeneratedText(f"{' ' if place else ''}{text} [{candidate.passage + 1}]")
        yield GenerationFinished(Usage(read + self.count_tokens(request.question), written))

    async def _choose(self, request: GenerationRequest) -> list[Candidate]:
        shortlist = gather(request.question, request.passages).shortlist
        if not shortlist:
            return []
        question = (await self._embedder.embed_queries([request.question]))[0]
        vectors = await self._embedder.embed_passages([candidate.embedded_text for candidate in shortlist])
        scored = sorted(zip(scores(shortlist, question, vectors), shortlist, strict=True), key=lambda pair: -pair[0])
        chosen = self._within_budget([candidate for score, candidate in scored if score >= scored[0][0] - _MARGIN], request)
        first = chosen[0].passage
        return sorted(chosen, key=lambda candidate: (candidate.passage != first, candidate.passage, candidate.sentence.start))

    def _within_budget(self, candidates: Sequence[Candidate], request: GenerationRequest) -> list[Candidate]:
        """The first ones, at most `max_sentences` and `max_tokens`; the best one always."""
        chosen = [candidates[0]]
        left = request.max_tokens - self.count_tokens(candidates[0].sentence.text)
        for candidate in candidates[1:]:
            left -= self.count_tokens(candidate.sentence.text)
            if len(chosen) >= request.max_sentences or left < 0:
                break
            chosen.append(candidate)
        return chosen
