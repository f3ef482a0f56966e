"""What a generative model has to show before it takes another's place. (Embedders and rerankers: tests of the embedding service.)"""

from __future__ import annotations

import asyncio
import json

import pytest

from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.use_cases import model_acceptance
from ragstone.use_cases.model_acceptance import accept_engine
from tests.fakes.generation_engine import ScriptedEngine, ScriptedReply


class Telling(ScriptedEngine):
    """Answers with these bytes."""

    def __init__(self, said: bytes) -> None:
        super().__init__()
        self.said = said

    async def chat(self, body: bytes) -> ScriptedReply:
        return ScriptedReply(self, 200, [self.said], True)


async def test_one_that_comes_up_and_answers_may_serve() -> None:
    new = ScriptedEngine(version="2")
    await accept_engine(new, ScriptedEngine())
    assert new.up
    [asked] = new.bodies
    assert (asked["model"], asked["max_tokens"], asked["stream"]) == ("scripted", 1, True)
    assert new.running == 0


async def test_one_that_is_called_otherwise_is_not_even_started() -> None:
    new = ScriptedEngine(names=("other",))
    with pytest.raises(InvalidInput, match=r"called other, and requests call scripted: set generation_service\.name"):
        await accept_engine(new, ScriptedEngine())
    assert not new.up


async def test_one_that_does_not_come_up_is_refused() -> None:
    with pytest.raises(InvalidInput, match="ended with status 1"):
        await accept_engine(ScriptedEngine(fails="ended with status 1"), ScriptedEngine())


async def test_files_that_are_missing_are_said() -> None:
    class Missing(ScriptedEngine):
        async def start(self) -> None:
            raise NotFound("There is no model directory.")

    with pytest.raises(NotFound, match="no model directory"):
        await accept_engine(Missing(), ScriptedEngine())


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b'data: {"choices": []}\n\n',
        b'data: {"error": {"message": "out of memory"}}\n\ndata: [DONE]\n\n',
    ],
)
async def test_an_answer_that_is_none_is_refused(said: bytes) -> None:
    with pytest.raises(InvalidInput, match="answers a message with"):
        await accept_engine(Telling(said), ScriptedEngine())


async def test_words_that_look_like_an_error_are_none() -> None:
    event = json.dumps({"choices": [{"delta": {"content": '"error": no, the word'}, "finish_reason": "length"}]}).encode()
    await accept_engine(Telling(b"data: " + event + b"\n\ndata: [DONE]\n\n"), ScriptedEngine())


async def test_an_engine_s_own_refusal_is_told() -> None:
    new = ScriptedEngine()
    new.status = 500
    with pytest.raises(InvalidInput, match="with status 500: no"):
        await accept_engine(new, ScriptedEngine())
    assert new.running == 0


async def test_breaking_off_and_silence_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="does not answer a message"):
        await accept_engine(ScriptedEngine(error=Unavailable("It broke off.")), ScriptedEngine())
    monkeypatch.setattr(model_acceptance, "_FIRST_TOKEN", 0.1)
    silent = ScriptedEngine(blocks=True)
    with pytest.raises(InvalidInput, match="does not answer a message"):
        await accept_engine(silent, ScriptedEngine())
    assert silent.running == 0


async def test_giving_up_while_it_comes_up_raises_at_once() -> None:
    class Slow(ScriptedEngine):
        async def ready(self) -> None:
            await asyncio.Event().wait()

    accepting = asyncio.ensure_future(accept_engine(Slow(), ScriptedEngine()))
    await asyncio.sleep(0)
    accepting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await accepting
