"""The engine that answers while it is replaced: who works with which, and how many at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ragstone.ports.generation_engine import GenerationEngine
from ragstone.services.generation.engine_slot import EngineSlot
from tests.fakes.generation_engine import ScriptedEngine

RUNNING = 2


@dataclass(eq=False)
class Answer:
    """One on its way. `engine`: of which it was given, once it was let in; `ends`: to be set."""

    engine: GenerationEngine | None = None
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Swaps(RuleBasedStateMachine):
    """Answers come, end or are given up, and engines are replaced, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.engines = [ScriptedEngine(version="1")]
        self.closed: list[ScriptedEngine] = []
        self.slot = EngineSlot(self._watched(self.engines[0]), RUNNING)
        self.answers: list[Answer] = []
        self.swapping: asyncio.Task[None] | None = None

    def _watched(self, engine: ScriptedEngine) -> ScriptedEngine:
        async def close() -> None:
            assert not [answer for answer in self.answers if answer.engine is engine], "closed while it answers"
            self.closed.append(engine)

        engine.close = close  # type: ignore[method-assign]
        return engine

    def _settle(self) -> None:
        for _ in range(10):
            self.loop.run_until_complete(asyncio.sleep(0))

    async def _answer(self, answer: Answer) -> None:
        try:
            async with self.slot.answering() as engine:
                answer.engine = engine
                try:
                    await answer.ends.wait()
                finally:
                    answer.engine = None
        finally:
            self.answers.remove(answer)

    @property
    def draining(self) -> bool:
        return self.swapping is not None and not self.swapping.done()

    @rule()
    def comes(self) -> None:
        answer = Answer()
        self.answers.append(answer)
        answer.task = self.loop.create_task(self._answer(answer))
        self._settle()

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.answers)).ends.set()
        self._settle()

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def is_given_up(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.answers)).task
        assert task is not None
        task.cancel()
        self._settle()

    @precondition(lambda self: not self.draining)  # what follows an alias waits for the end of a change
    @rule()
    def is_replaced(self) -> None:
        new = ScriptedEngine(version=str(len(self.engines) + 1))
        self.engines.append(new)
        self.swapping = self.loop.create_task(self.slot.swap(self._watched(new)))
        self._settle()

    @invariant()
    def no_more_work_at_once_than_one_engine_alone_would_do(self) -> None:
        now = self.engines[-1]
        assert self.slot.now is now
        old, new = (sum(1 for each in self.answers if each.engine is not None and (each.engine is now) is mine) for mine in (False, True))
        if old:
            assert min(old, RUNNING) + new <= RUNNING
            assert self.draining

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        if not self.draining:
            assert all(answer.engine is self.engines[-1] for answer in self.answers)
            assert self.closed == self.engines[:-1]

    def teardown(self) -> None:
        for answer in [*self.answers]:
            answer.ends.set()
        self._settle()
        assert self.answers == []
        assert not self.draining
        self.loop.close()


Swaps.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestSwaps = Swaps.TestCase


async def test_a_change_that_is_given_up_closes_both_in_the_end() -> None:
    closed: list[str] = []

    def engine(version: str) -> ScriptedEngine:
        made = ScriptedEngine(version=version)

        async def close() -> None:
            closed.append(version)

        made.close = close  # type: ignore[method-assign]
        return made

    slot = EngineSlot(engine("1"), RUNNING)
    async with AsyncExitStack() as stack:
        assert (await stack.enter_async_context(slot.answering())).model.version == "1"
        swapping = asyncio.ensure_future(slot.swap(engine("2")))
        await asyncio.sleep(0)
        swapping.cancel()
        await asyncio.wait([swapping])
        assert (closed, slot.now.model.version) == ([], "2")
    await slot.close()
    assert closed == ["1", "2"]
