"""The crash matrix: which failpoint, which action, in the job of which document, and how the job comes to reach that failpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from ragstone.adapters.failpoints import MOMENTS, SIDE_EFFECTS, Action, Failpoint
from tests.crash.script import HISTORY, Step, text

PLACES = ("first", "middle", "last")


@dataclass(frozen=True)
class Route:
    """A way to reach failpoints. `bases`: how many steps of the history lie before it, for each of `PLACES`; the step is the next one then, if not given.

    `spoiler`: what goes wrong first, so that there is something to clean up.
    """

    name: str
    bases: tuple[int, int, int]
    step: Step | None = None
    spoiler: tuple[Failpoint, ...] = ()


_CHANGE = Step(
    "target", {"ferry.txt": text("ferry", "The ferry leaves at eight.", "Bring a warm coat."), "log.txt": text("log", "The log is kept.")}
)

JOB = Route("job", (0, 2, 5))
CHANGE = Route("change", (1, 3, 6), _CHANGE)
ROLLBACK = Route("rollback", (2, 4, 6), Step("target", rollback=1))
UNCHANGED = Route("unchanged", (1, 4, 6), Step("target", {"ferry.txt": HISTORY[0].puts["ferry.txt"]}))
TRIED_AGAIN = Route("tried again", (1, 3, 6), _CHANGE, (Failpoint("index.insert.after", "lost"),))
FAILED = Route("failed", (1, 3, 6), _CHANGE, (Failpoint("index.flush.after", "error"),))
RENEWED = Route(
    "renewed", (1, 3, 6), _CHANGE, (Failpoint("catalog.acquire.after", "pause"),)
)  # the writer's own clock jumps ahead once it has its lease
OPTIMISED = Route("optimised", (1, 3, 6), _CHANGE)
TAG = Route("tag", (1, 3, 6), Step("target", tag=1))
FILLED = Route("filled", (1, 3, 6), Step("target", space="switch"))
GIVEN_UP = Route("given up", (1, 3, 6), Step("target", space="give up"))
LEFT = Route("left", (1, 3, 6), Step("target", space="leave"))
ASKED = Route("asked", (1, 3, 6))
CREATED = Route("created", (1, 3, 6))
# A start with as much to do as there can be: a published job without its mirror, whose bytes are left, then one that failed and left its remains.
STARTING = Route(
    "start",
    (1, 3, 6),
    _CHANGE,
    (
        Failpoint("versions.advance.before", "lost"),
        Failpoint("staging.discard.before", "error"),
        Failpoint("index.flush.after", "pause", 2),
        Failpoint("index.erase_attempts.before", "kill"),
    ),
)

_ROUTES: dict[str, Route] = {
    "catalog.create_collection": CREATED,
    "catalog.renew": RENEWED,
    "catalog.abort": TRIED_AGAIN,
    "catalog.release": TRIED_AGAIN,
    "catalog.fail": FAILED,
    "catalog.retire": FAILED,
    "catalog.finish_unchanged": UNCHANGED,
    "catalog.requeue_orphans": STARTING,
    "catalog.tag": TAG,
    "catalog.begin_build": FILLED,
    "catalog.add_space": FILLED,
    "catalog.acquire_fill": FILLED,
    "catalog.finish_fill": FILLED,
    "catalog.drop_space": GIVEN_UP,
    "catalog.forget_space": GIVEN_UP,
    "versions.create": CREATED,
    "versions.restore": ROLLBACK,
    "versions.drop_attempts": FAILED,
    "index.create": CREATED,
    "index.drop": GIVEN_UP,
    "index.close_points": CHANGE,
    "index.erase_attempts": FAILED,
    "index.optimise": OPTIMISED,
    "interactions.append": ASKED,
}
_AT_START = (
    "versions.advance",
    "versions.drop_attempts",
    "index.erase_attempts",
    "index.flush",
    "catalog.retire",
    "staging.discard",
    "queue.enqueue",
)
_FILLING = (
    "index.create",
    "index.insert",
    "index.flush",
    "embedder.embed_passages",
    "catalog.publish",
)  # while a space is filled, or switched to
_LEAVING = ("catalog.drop_space", "catalog.forget_space", "index.drop")  # while one is dropped from under commits that are kept


@dataclass(frozen=True)
class Cell:
    """One crash. `place` is an index into `PLACES`."""

    point: Failpoint
    place: int
    route: Route

    def __str__(self) -> str:
        return f"{self.point} ({self.route.name}, {PLACES[self.place]})"

    @property
    def base(self) -> int:
        return self.route.bases[self.place]

    @property
    def step(self) -> Step:
        return self.route.step or HISTORY[self.base]


def cells() -> Iterator[Cell]:
    """The whole matrix."""
    for port, methods in SIDE_EFFECTS.items():
        for method in methods:
            call = f"{port}.{method}"
            route = _ROUTES.get(call, JOB)
            for moment in MOMENTS:
                for action in get_args(Action):
                    for place in range(len(PLACES)):
                        yield from _at(f"{call}.{moment}", action, place, route)
                        if call in _AT_START:
                            yield from _at(f"{call}.{moment}", action, place, STARTING)
                        if call in _FILLING:
                            yield from _at(f"{call}.{moment}", action, place, FILLED)
                        if call in _LEAVING:
                            yield from _at(f"{call}.{moment}", action, place, LEFT)


def over_servers(cell: Cell) -> bool:
    """Whether a cell's failpoint can be reached where others may work over the same stores: a start leaves those alone, and a server optimises by itself."""
    return cell.route not in (STARTING, OPTIMISED) and not cell.point.name.startswith("catalog.requeue_orphans")


def sample() -> list[Cell]:
    """A cell for each failpoint, and one for each that a start or a new space reaches; actions and places take turns."""
    chosen: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells():
        chosen.setdefault((cell.point.name, cell.route.name), []).append(cell)
    return [of_name[(5 * turn) % len(of_name)] for turn, of_name in enumerate(chosen.values())]


def few() -> list[Cell]:
    """Of the sample, the first cell of each port, and the first of each kind of start, new space and dropped space."""
    chosen: dict[str, Cell] = {}
    for cell in sample():
        chosen.setdefault(cell.route.name if cell.route in (STARTING, FILLED, LEFT) else cell.point.name.partition(".")[0], cell)
    return [*chosen.values()]


def _at(name: str, action: Action, place: int, route: Route) -> Iterator[Cell]:
    if route is STARTING and action == "pause":  # nobody else writes while the owner of the directory starts
        return
    yield Cell(Failpoint(name, action), place, route)
