"""Together or alone, whatever comes in whatever order, fails, or is cancelled at any moment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from hypothesis import example, given
from hypothesis import strategies as st

from ragstone.adapters.exclusive_gate import ExclusiveGate, Visit

_PATIENCE = 60.0  # seconds: whoever waits longer waits for ever


@dataclass(frozen=True)
class Plan:
    """What a visit does. `steps`: turns of the loop that each part of it takes. `cancelled`: at which turn of the loop, if it is."""

    begins: int
    kind: Literal["together", "aside", "aside, then alone", "alone"]
    steps: int
    fails: bool
    cancelled: int | None


PLANS = st.builds(
    Plan,
    st.integers(0, 5),
    st.sampled_from(["together", "aside", "aside, then alone", "alone"]),
    st.integers(0, 4),
    st.booleans(),
    st.none() | st.integers(0, 12),
)


@dataclass
class Place:
    """Who is where, as the visits themselves see it."""

    gate: ExclusiveGate = field(default_factory=ExclusiveGate)
    together: set[int] = field(default_factory=set)
    aside: set[int] = field(default_factory=set)
    closing: set[int] = field(default_factory=set)
    alone: set[int] = field(default_factory=set)

    def look(self) -> None:
        assert len(self.aside | self.closing | self.alone) <= 1
        assert not (self.alone and self.together)

    async def visit(self, number: int, plan: Plan) -> None:
        try:
            async with self.gate.visit() as visit:
                assert not self.closing | self.alone, "it was let in"
                await self._stay(self.together, number, plan)
                if plan.kind != "together":
                    await self._apart(visit, number, plan)
                if plan.fails:
                    raise ZeroDivisionError
        finally:
            for group in (self.together, self.aside, self.closing, self.alone):
                group.discard(number)

    async def _apart(self, visit: Visit, number: int, plan: Plan) -> None:
        self.together.discard(number)
        if plan.kind != "alone":
            await visit.step_aside()
            await self._stay(self.aside, number, plan)
        if plan.kind != "aside":
            if number in self.aside:  # it has its turn, so it closes the gate at once
                self.aside.discard(number)
                self.closing.add(number)
            await visit.be_alone()
            self.closing.discard(number)
            await self._stay(self.alone, number, plan)

    async def _stay(self, group: set[int], number: int, plan: Plan) -> None:
        group.add(number)
        for _ in range(plan.steps):
            self.look()
            await asyncio.sleep(0)
        self.look()


async def _run(plans: list[Plan]) -> None:
    place, tasks = Place(), dict[int, asyncio.Task[None]]()
    for now in range(20):
        for number, plan in enumerate(plans):
            if plan.begins == now:
                tasks[number] = asyncio.create_task(place.visit(number, plan))
            elif plan.cancelled == now and number in tasks:
                tasks[number].cancel()
        await asyncio.sleep(0)
    async with asyncio.timeout(_PATIENCE):
        ends = await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert not [end for end in ends if not isinstance(end, ZeroDivisionError | asyncio.CancelledError | None)]
    async with asyncio.timeout(_PATIENCE), place.gate.visit() as last:  # nothing of them is left
        await last.be_alone()


@example(
    [Plan(now, "alone", 3 * (now == 0), fails=False, cancelled=None) for now in range(3)]
)  # two wait, and the first closes the gate again at once
@given(st.lists(PLANS, max_size=8))
def test_one_is_alone_or_others_are_together_and_every_visit_ends(plans: list[Plan]) -> None:
    asyncio.run(_run(plans))


async def test_whoever_waits_can_be_sent_away_and_whoever_works_is_left_alone() -> None:
    gate, inside, done = ExclusiveGate(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        async with gate.visit():
            inside.set()
            await done.wait()
            return "worked"

    async def come(alone: bool) -> str:
        async with gate.visit() as visit:
            if alone:
                await visit.be_alone()
            return "came"

    worker = asyncio.create_task(work())
    await inside.wait()
    waiting = [
        asyncio.create_task(come(alone)) for alone in (True, True, False)
    ]  # for the others to leave, for its turn, for the gate to open
    for _ in range(5):
        await asyncio.sleep(0)
    gate.send_away()
    async with asyncio.timeout(_PATIENCE):
        assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*waiting, return_exceptions=True))
        assert await come(False) == "came"
        done.set()
        assert await worker == "worked"
        assert await come(True) == "came"


async def test_those_who_wait_come_in_between_two_who_are_alone() -> None:
    gate, order, both, done = ExclusiveGate(), list[str](), asyncio.Barrier(2), asyncio.Event()

    async def come_alone(name: str) -> None:
        async with gate.visit() as visit:
            await both.wait()
            await visit.be_alone()
            order.append(name)
            await done.wait()

    async def come() -> None:
        async with gate.visit():
            order.append("together")

    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(come_alone("alone"))
        while not order:  # noqa: ASYNC110 - one is alone, the other waits for its turn
            await asyncio.sleep(0)
        tasks.create_task(come())
        for _ in range(5):
            await asyncio.sleep(0)
        done.set()
    assert order == ["alone", "together", "alone"]
