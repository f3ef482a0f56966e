"""The model checker itself, on a model that fits on a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.model.checker import explore


@dataclass(frozen=True)
class Counters:
    """Two processes add one to a shared number, `times` each; `torn`: reading and writing are two steps."""

    times: int
    torn: bool

    def initial(self) -> tuple[int, tuple[tuple[int, int | None], ...]]:
        return 0, ((self.times, None), (self.times, None))

    def successors(
        self, state: tuple[int, tuple[tuple[int, int | None], ...]]
    ) -> Iterator[tuple[tuple[object, ...], tuple[int, tuple[tuple[int, int | None], ...]]]]:
        number, processes = state
        for which, (left, read) in enumerate(processes):
            if read is not None or (left and not self.torn):
                done = (*processes[:which], (left - 1, None), *processes[which + 1 :])
                yield (which, "writes"), ((number if read is None else read) + 1, done)
            elif left:
                yield (which, "reads"), (number, (*processes[:which], (left, number), *processes[which + 1 :]))

    def broken(self, state: tuple[int, tuple[tuple[int, int | None], ...]], at_rest: bool) -> str | None:
        return "an addition is lost" if at_rest and state[0] != 2 * self.times else None

    def describe(self, state: tuple[int, tuple[tuple[int, int | None], ...]]) -> str:
        return f"the number is {state[0]}"


def test_every_state_is_visited_once() -> None:
    outcome = explore(Counters(times=3, torn=False))
    assert (outcome.states, outcome.steps, outcome.rests, outcome.exhausted, outcome.broken) == (16, 24, 1, True, None)


def test_the_counterexample_is_a_shortest_one_in_words() -> None:
    outcome = explore(Counters(times=1, torn=True))
    assert outcome.broken == "an addition is lost"
    assert outcome.trace == "  1. 0 reads\n  2. 1 reads\n  3. 0 writes\n  4. 1 writes\nthe number is 1"


def test_a_limit_is_told_from_exhaustion() -> None:
    outcome = explore(Counters(times=3, torn=False), limit=5)
    assert not outcome.exhausted
    assert str(outcome) == f"{outcome.states} states, {outcome.steps} steps, 0 states of rest: no violation so far; stopped"
