"""An explicit-state model checker: breadth first over every reachable state, so that a counterexample is as short as can be."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class Model(Protocol[S]):
    """States are immutable and hashable; equal states are one state. No path may be endless: then each ends in a state of rest."""

    def initial(self) -> S: ...

    def successors(self, state: S) -> Iterable[tuple[tuple[object, ...], S]]:
        """Every atomic step that may come next: what it is (words and things, put together only for a trace), and the state after it."""

    def broken(self, state: S, at_rest: bool) -> str | None:
        """The property that `state` breaks, in words. `at_rest`: nothing can happen any more."""

    def describe(self, state: S) -> str:
        """The state in words, for the end of a counterexample."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`exhausted`: every reachable state was seen. `broken` and `trace` tell the first violation."""

    states: int
    steps: int
    rests: int
    exhausted: bool
    broken: str | None = None
    trace: str = ""

    def __str__(self) -> str:
        verdict = f"VIOLATED: {self.broken}" if self.broken else "no violation" if self.exhausted else "no violation so far; stopped"
        return f"{self.states:,} states, {self.steps:,} steps, {self.rests:,} states of rest: {verdict}"


def explore(model: Model[S], limit: int | None = None) -> Outcome:
    """Visits every reachable state, or `limit` of them, and checks each; ends at the first that is broken."""
    first = model.initial()
    parents: dict[S, S | None] = {first: None}
    waiting = deque([first])
    steps = rests = 0
    while waiting and (limit is None or len(parents) < limit):
        state = waiting.popleft()
        following = [after for _, after in model.successors(state)]
        steps += len(following)
        rests += not following
        if problem := model.broken(state, at_rest=not following):
            return Outcome(len(parents), steps, rests, False, problem, _trace(model, parents, state))
        for after in following:
            if after not in parents:
                parents[after] = state
                waiting.append(after)
    return Outcome(len(parents), steps, rests, exhausted=not waiting)


def _trace(model: Model[S], parents: dict[S, S | None], last: S) -> str:
    """The shortest way to `last`. The words of each step are found by taking it once more."""
    path = [last]
    while (parent := parents[path[-1]]) is not None:
        path.append(parent)
    path.reverse()
    lines = [
        f"{number:3}. {' '.join(map(str, next(words for words, state in model.successors(before) if state == after)))}"
        for number, (before, after) in enumerate(pairwise(path), 1)
    ]
    return "\n".join([*lines, model.describe(last)])
