"""The last question of a conversation, made one that stands alone: a search knows nothing of what was said before."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from ragstone.domain.conversations import Rewriting, Turn
from ragstone.domain.deadline import remaining
from ragstone.domain.errors import RagstoneError
from ragstone.domain.generation import GeneratedText, GenerationRequest
from ragstone.ports.generator import Generator
from ragstone.use_cases.prompts import Prompts, RenderedPrompt

PROMPT = "rewrite/1"
_TURNS = 10  # the last ones; what a question points back to is near
_CHARACTERS = 2_000  # of each: answers may be long, and what is meant stands in their beginning
_MAX_TOKENS = 256  # of the rewritten question
_SECONDS = 10.0  # at most a third of what the request has left, so that its answer is not late for it
_log = logging.getLogger(__name__)


class Rewriter:
    """Asks the generator; whatever goes wrong, the question is asked as it is."""

    def __init__(self, generator: Generator, prompts: Prompts) -> None:
        self._generator = generator
        self._prompts = prompts

    async def rewrite(self, question: str, history: Sequence[Turn], *, characters: int) -> Rewriting:
        """The question that stands alone, of at most so many `characters`. `history`: what was said before, the oldest first."""
        none = Rewriting(None, PROMPT, len(history), failed=True)
        if not self._generator.reads_prompt:
            return replace(none, reason="The generator works with quotations and rewrites nothing.", failed=False)
        turns = [replace(turn, text=turn.text[:_CHARACTERS]) for turn in history[-_TURNS:] if turn.text.strip()]
        rendered = self._render(question, turns)
        while turns and self._tokens(rendered) + _MAX_TOKENS > self._generator.context_window:
            turns = turns[1:]
            rendered = self._render(question, turns)
        if not turns:
            return replace(none, reason="Nothing that was said before fits into the generator's window.")
        left = remaining()
        request = GenerationRequest(
            question=question,
            passages=(),
            system=rendered.system,
            user=rendered.user,
            max_tokens=_MAX_TOKENS,
            temperature=0.0,
            timeout=_SECONDS if left is None else min(_SECONDS, max(left / 3, 0.001)),
            max_sentences=1,
        )
        try:
            async with aclosing(self._generator.stream(request)) as events:
                text = "".join([event.text async for event in events if isinstance(event, GeneratedText)])
        except RagstoneError as error:
            _log.info("a question is asked as it is: %s", error.message)
            return replace(none, reason=error.message)
        standalone = " ".join(text.split())
        if not standalone or len(standalone) > characters:
            return replace(none, reason="The generator gave no question.")
        return Rewriting(standalone, PROMPT, len(history))

    def _render(self, question: str, turns: Sequence[Turn]) -> RenderedPrompt:
        return self._prompts.get(PROMPT).render_conversation(question, turns)

    def _tokens(self, rendered: RenderedPrompt) -> int:
        return self._generator.count_tokens(rendered.system) + self._generator.count_tokens(rendered.user)
