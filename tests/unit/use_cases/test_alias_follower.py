"""A model that follows an alias: what changes it over, and what does not."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.domain.registered_models import GeneratorReference, ModelContent, ModelReference, ModelVersion
from ragstone.telemetry.metrics import MODEL_BEHIND, MODEL_CHANGES, MODEL_VERSION
from ragstone.use_cases.alias_follower import AliasFollower, Loading

CHAMPION = ModelReference("m", alias="champion")


def version(number: int) -> ModelVersion:
    return ModelVersion(
        "m", number, ModelContent("generator", "MIT", reference=GeneratorReference("http://x", "m", str(number))), "ada", 0.0
    )


@dataclass
class Model:
    """Named as its version's number."""

    name: str
    closed: list[str]

    async def close(self) -> None:
        self.closed.append(self.name)


@dataclass
class World:
    """An alias at `points_at`, and a slot. `wrong`: what looking, fetching, loading and accepting raise."""

    points_at: int = 1
    wrong: dict[str, Exception] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    clock: float = 0.0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    swapped: asyncio.Event = field(default_factory=asyncio.Event)
    meanwhile: dict[str, int] = field(default_factory=dict)  # where the alias is moved to while that version is accepted

    def __post_init__(self) -> None:
        self.gate.set()
        self.now = Model("1", self.closed)
        self.follower = self.following()

    def following(self, *, as_last_seen: bool = False, tells_only: str | None = None) -> AliasFollower[Model]:
        loading = Loading(self._look, self._path, self._load, self._accept)
        return AliasFollower(
            CHAMPION,
            version(1),
            self,
            loading,
            interval=0.01,
            as_last_seen=as_last_seen,
            tells_only=tells_only,
            clock=lambda: self.clock,
        )

    async def swap(self, new: Model) -> None:
        old, self.now = self.now, new
        self.swapped.set()
        self._raise("close")
        await old.close()

    def _raise(self, step: str) -> None:
        if step in self.wrong:
            raise self.wrong[step]

    async def _look(self, reference: ModelReference) -> ModelVersion:
        assert reference == CHAMPION
        self._raise("look")
        return version(self.points_at)

    async def _path(self, wanted: ModelVersion) -> Path:
        self._raise("path")
        await self.gate.wait()
        return Path(str(wanted.number))

    def _load(self, wanted: ModelVersion, path: Path) -> Model:
        assert path.name == str(wanted.number)
        self._raise("load")
        self.loaded.append(path.name)
        return Model(path.name, self.closed)

    async def _accept(self, new: Model, old: Model) -> None:
        assert old is self.now
        assert new is not old
        self._raise("accept")
        self.points_at = self.meanwhile.pop(new.name, self.points_at)


def metrics() -> tuple[float, float]:
    """Version and behind."""
    return MODEL_VERSION.labels(str(CHAMPION))._value.get(), MODEL_BEHIND.labels(str(CHAMPION))._value.get()


def changes(outcome: str) -> float:
    return float(MODEL_CHANGES.labels(str(CHAMPION), outcome)._value.get())


async def test_a_moved_alias_changes_the_model_over_and_back() -> None:
    world, before = World(), changes("changed")
    assert not await world.follower.look()
    assert world.loaded == []
    world.points_at = 2
    assert await world.follower.look()
    assert (world.now.name, world.closed) == ("2", ["1"])
    assert (world.follower.serving, world.follower.problem, metrics()) == (version(2), None, (2, 0))
    world.points_at = 1
    assert await world.follower.look()
    assert (world.now.name, world.loaded, world.closed) == ("1", ["2", "1"], ["1", "2"])
    assert changes("changed") - before == 2


async def test_what_serves_goes_on_while_the_next_is_loaded() -> None:
    world = World(points_at=2)
    world.gate.clear()
    looking = asyncio.create_task(world.follower.look())
    await asyncio.sleep(0)
    assert (world.now.name, world.follower.serving) == ("1", version(1))
    world.gate.set()
    assert await looking
    assert world.now.name == "2"


@pytest.mark.parametrize("step", ["path", "load", "accept"])
@pytest.mark.parametrize(
    ("error", "told"), [(InvalidInput("another space"), "another space"), (ValueError("secret"), "an unexpected ValueError")]
)
async def test_a_version_that_can_not_serve_is_refused_once_and_the_old_one_goes_on(
    step: str, error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world, before = World(points_at=2, wrong={step: error}), changes("refused")
    for _ in range(3):
        assert not await world.follower.look()
    assert world.now.name == "1"
    problem = world.follower.problem
    assert problem is not None
    assert "models:/m/2 is refused" in problem
    assert told in problem
    assert "models:/m/1 goes on serving" in problem
    assert "secret" not in problem
    assert (metrics(), changes("refused") - before) == ((1, 1), 1)
    assert caplog.text.count("is refused") == 1
    assert world.closed == world.loaded  # what was loaded for nothing is freed
    world.clock += 601  # its files may have been put right
    del world.wrong[step]
    assert await world.follower.look()
    assert (world.follower.problem, metrics()) == (None, (2, 0))


async def test_a_refused_version_that_the_alias_leaves_is_no_problem_any_more() -> None:
    world = World(points_at=2, wrong={"accept": InvalidInput("no")})
    await world.follower.look()
    world.points_at = 1
    assert not await world.follower.look()
    assert (world.follower.problem, metrics()) == (None, (1, 0))


async def test_a_refused_version_is_tried_again_when_the_alias_comes_back_to_it() -> None:
    world = World(points_at=2, wrong={"path": InvalidInput("another file")})
    await world.follower.look()
    world.points_at = 1
    await world.follower.look()
    world.points_at = 2
    world.wrong.clear()
    assert await world.follower.look()
    assert (world.follower.problem, metrics()) == (None, (2, 0))


@pytest.mark.parametrize("error", [Unavailable("away"), NotFound("the alias is gone"), RuntimeError("x")])
async def test_without_an_answer_the_old_one_goes_on_and_it_is_asked_again(error: Exception) -> None:
    world, before = World(points_at=2, wrong={"look": error}), changes("unanswered")
    assert not await world.follower.look()
    assert world.follower.problem is not None
    assert "models:/m/1 goes on serving" in world.follower.problem
    assert (metrics(), changes("unanswered") - before) == ((1, 1), 1)
    world.wrong.clear()
    assert await world.follower.look()


async def test_what_may_pass_is_tried_again_at_the_next_look() -> None:
    world = World(points_at=2, wrong={"path": Unavailable("the registry broke off")})
    assert not await world.follower.look()
    assert "can't be had now" in str(world.follower.problem)
    world.wrong.clear()
    assert await world.follower.look()


async def test_a_refusal_is_told_again_after_an_outage() -> None:
    world = World(points_at=2, wrong={"accept": InvalidInput("another space")})
    await world.follower.look()
    world.wrong["look"] = Unavailable("away")
    await world.follower.look()
    del world.wrong["look"]
    await world.follower.look()
    assert "another space" in str(world.follower.problem)


async def test_it_follows_until_it_is_cancelled() -> None:
    world = World(points_at=2)
    running = asyncio.create_task(world.follower.run())
    async with asyncio.timeout(60):
        await world.swapped.wait()
    assert world.now.name == "2"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_it_goes_on_when_an_old_model_can_not_be_closed(caplog: pytest.LogCaptureFixture) -> None:
    world = World(points_at=2, wrong={"close": RuntimeError("stuck")})
    running = asyncio.create_task(world.follower.run())
    async with asyncio.timeout(60):
        await world.swapped.wait()
        world.swapped.clear()
        world.points_at = 3
        await world.swapped.wait()
    assert world.now.name == "3"
    assert "could not be closed" in caplog.text
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_start_without_the_registry_is_told_until_it_answers() -> None:
    world = World()
    follower = world.following(as_last_seen=True)
    assert "as last seen" in str(follower.problem)
    assert metrics() == (1, 1)
    assert not await follower.look()
    assert (follower.problem, metrics()) == (None, (1, 0))


async def test_an_alias_that_moves_on_while_a_version_is_loaded_gets_the_later_one() -> None:
    world, before = World(points_at=2, meanwhile={"2": 3}), changes("overtaken")
    assert await world.follower.look()
    assert (world.now.name, world.loaded, world.closed) == ("3", ["2", "3"], ["2", "1"])
    assert (world.follower.serving, metrics(), changes("overtaken") - before) == (version(3), (3, 0), 1)


async def test_an_alias_that_moves_back_while_a_version_is_loaded_changes_nothing() -> None:
    world = World(points_at=2, meanwhile={"2": 1})
    assert not await world.follower.look()
    assert (world.now.name, world.closed) == ("1", ["2"])
    assert (world.follower.serving, world.follower.problem, metrics()) == (version(1), None, (1, 0))


async def test_a_version_that_is_loaded_while_the_registry_goes_away_serves() -> None:
    world = World(points_at=2)

    async def accept(new: Model, old: Model) -> None:
        world.wrong["look"] = Unavailable("away")

    world.follower._loading = Loading(world._look, world._path, world._load, accept)
    assert await world.follower.look()
    assert world.now.name == "2"


async def test_where_two_can_not_be_in_memory_it_is_told_and_nothing_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    world, before = World(), changes("told")
    follower = world.following(tells_only="there is no room for two.")
    assert not await follower.look()
    assert (follower.problem, metrics()) == (None, (1, 0))
    world.points_at = 2
    for _ in range(3):
        assert not await follower.look()
    assert "models:/m@champion: it means models:/m/2 now" in str(follower.problem)
    assert "there is no room for two. models:/m/1 goes on serving." in str(follower.problem)
    assert (world.loaded, world.now.name, metrics()) == ([], "1", (1, 1))
    assert caplog.text.count("it means models:/m/2 now") == 1
    assert changes("told") > before
    world.points_at = 1
    assert not await follower.look()
    assert (follower.problem, metrics()) == (None, (1, 0))


async def test_one_that_is_cancelled_while_it_loads_closes_what_it_loaded() -> None:
    world = World(points_at=2)
    entered = asyncio.Event()

    async def accept(new: Model, old: Model) -> None:
        entered.set()
        await asyncio.Event().wait()

    world.follower._loading = Loading(world._look, world._path, world._load, accept)
    looking = asyncio.create_task(world.follower.look())
    async with asyncio.timeout(60):
        await entered.wait()
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert (world.now.name, world.closed) == ("1", ["2"])
