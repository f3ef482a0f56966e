"""Failpoints: named places around every side effect of the write path at which the process dies, an error comes, or a writer stops.

For tests of recovery, and for trying out what a crash does. `RAGSTONE_FAILPOINTS` switches them on for a whole process
(`index.insert.after=kill,catalog.publish.after@2=lost`); without it no adapter is wrapped, and they cost nothing. With a word
(`embedder.embed_passages.before~asbestos=kill`) one stands for input that nothing survives: it acts on every call that is given the word.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

from ragstone.domain.errors import InvalidInput, Unavailable

VARIABLE = "RAGSTONE_FAILPOINTS"

# Every call of a port that changes something on the way from a request to a cleaned-up commit.
SIDE_EFFECTS: Mapping[str, tuple[str, ...]] = {
    "catalog": (
        "create_collection",
        "accept",
        "acquire",
        "renew",
        "abort",
        "publish",
        "fail",
        "finish_unchanged",
        "release",
        "retire",
        "requeue_orphans",
        "tag",
        "begin_build",
        "add_space",
        "acquire_fill",
        "finish_fill",
        "drop_space",
        "forget_space",
    ),
    "versions": ("create", "stage", "restore", "advance", "drop_attempts"),
    "index": ("create", "insert", "close_points", "flush", "erase_attempts", "optimise", "drop"),
    "staging": ("put", "discard"),
    "queue": ("enqueue",),
    "interactions": ("append",),
    "embedder": ("embed_passages",),  # nothing durable, but it takes the longest
}
MOMENTS = ("before", "after")

Action = Literal["kill", "error", "lost", "pause"]
_SPECIFICATION = re.compile(
    r"\s*(?P<name>[a-z_.]+)(?:@(?P<hit>[1-9][0-9]{0,8})|~(?P<word>[A-Za-z0-9_-]{1,64}))?=(?P<action>[a-z]+)\s*", re.ASCII
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Failpoint:
    """What happens when `name` (`<port>.<method>.<before|after>`) is reached for the `hit`-th time; other times nothing does.

    With a `word`: each time that an argument of the call holds it.

    `kill`: SIGKILL to this process. `error`: an exception that nobody expects. `lost`: `Unavailable`; before the call this is a request that
    got lost, after it a reply. `pause`: the caller waits until it is told to go on.
    """

    name: str
    action: Action
    hit: int = 1
    word: str = ""

    def __post_init__(self) -> None:
        known = list(names())
        if self.name not in known:
            near = difflib.get_close_matches(self.name, known, 1)
            hint = f"did you mean {near[0]}?" if near else "it has the form <port>.<method>.<before|after>, as in index.insert.after."
            raise InvalidInput(f"failpoint: there is no {self.name[:100]!r}; {hint}", field=VARIABLE)
        if self.action not in get_args(Action):
            raise InvalidInput(
                f"failpoint {self.name}: {str(self.action)[:40]!r} is no action; take one of {', '.join(get_args(Action))}.", field=VARIABLE
            )

    def __str__(self) -> str:
        when = f"~{self.word}" if self.word else f"@{self.hit}" if self.hit > 1 else ""
        return f"{self.name}{when}={self.action}"


def names() -> Iterator[str]:
    """Every failpoint's name."""
    for port, methods in SIDE_EFFECTS.items():
        for method in methods:
            for moment in MOMENTS:
                yield f"{port}.{method}.{moment}"


def parse(specification: str) -> tuple[Failpoint, ...]:
    """Reads `name[@n]=action` and `name~word=action`, several separated by commas. Raises `InvalidInput` for what is none."""
    points = []
    for part in filter(str.strip, specification.split(",")):
        match = _SPECIFICATION.fullmatch(part)
        if match is None:
            raise InvalidInput(
                f"{VARIABLE}: {part.strip()[:100]!r} can't be read; write name=action or name@n=action, as in index.insert.after@2=kill.",
                field=VARIABLE,
            )
        points.append(Failpoint(match["name"], cast(Action, match["action"]), int(match["hit"] or 1), match["word"] or ""))
    return tuple(points)


async def stop_process(name: str) -> None:
    """The pause outside tests: the whole process stops until it is sent SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


class Failpoints:
    """Those in force in this process. `pause` is awaited with the name of a failpoint whose action is `pause`, and ends when it may go on.

    `hits` counts how often each was reached since they were armed last, `fired` tells which ones acted.
    """

    def __init__(self, points: Sequence[Failpoint] = (), *, pause: Callable[[str], Awaitable[None]] = stop_process) -> None:
        self._pause = pause
        self.arm(*points)

    def arm(self, *points: Failpoint) -> None:
        """These from now on, and no others; counting begins again."""
        self._points = {(point.name, point.hit): point for point in points if not point.word}
        self._words = {point.name: point for point in points if point.word}
        self.hits: Counter[str] = Counter()
        self.fired: list[Failpoint] = []

    def wrap(self, port: str, adapter: _T) -> _T:
        """The adapter with failpoints around its side effects."""
        return cast(_T, _Wrapped(port, adapter, self))

    async def reach(self, name: str, *given: object) -> None:
        """Called at the failpoint of a call that is given this."""
        self.hits[name] += 1
        point = self._points.get((name, self.hits[name]))
        if point is None and (marked := self._words.get(name)) is not None and marked.word in repr(given):
            point = marked
        if point is None:
            return
        self.fired.append(point)
        match point.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "error":
                raise RuntimeError(f"failpoint {point}")
            case "lost":
                raise Unavailable(f"Failpoint {point}; start without {VARIABLE}.")
            case "pause":
                await self._pause(name)


class _Wrapped:
    """Stands for an adapter; whatever is no side effect goes straight to it."""

    def __init__(self, port: str, adapter: object, failpoints: Failpoints) -> None:
        self._port = port
        self._adapter = adapter
        self._failpoints = failpoints

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._adapter, name)
        if name not in SIDE_EFFECTS[self._port]:
            return attribute

        async def call(*arguments: Any, **named: Any) -> Any:
            await self._failpoints.reach(f"{self._port}.{name}.before", arguments, named)
            result = await attribute(*arguments, **named)
            await self._failpoints.reach(f"{self._port}.{name}.after", arguments, named)
            return result

        return call
