"""A model that follows an alias: what changes it over, and what does not."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.domain.registered_models import GeneratorReference, ModelContent, ModelReference, ModelVersion
from ragstone.telemetry.metrics import MODEL_BEHIND, MODEL_CHANGES, MODEL_VERSION
from ragstone.use_cases.alias_follower import AliasFollower, ModelSource
from ragstone.use_cases.model_holder import ModelHolder

CHAMPION = ModelReference("m", alias="champion")


def version(number: int) -> ModelVersion:
    return ModelVersion(
        "m", number, ModelContent("generator", "MIT", reference=GeneratorReference("http://x", "m", str(number))), "ada", 0.0
    )


@dataclass
class World:
    """An alias at `points_at`, and models that are the names of their files. `wrong`: what looking, fetching, loading and accepting raise."""

    points_at: int = 1
    wrong: dict[str, Exception] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    now: float = 0.0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.holder = ModelHolder("1", "models:/m/1", self.closed.append)
        source = ModelSource(self._look, self._path, self._load, self._accept, self.closed.append)
        self.follower = AliasFollower(CHAMPION, version(1), self.holder, source, interval=0.01, clock=lambda: self.now)

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

    def _load(self, path: Path) -> str:
        self._raise("load")
        self.loaded.append(path.name)
        return path.name

    async def _accept(self, new: str, old: str) -> None:
        assert new != old
        self._raise("accept")
        self.accepted.set()


def metrics() -> tuple[float, float]:
    """Version and behind."""
    return tuple(gauge.labels(str(CHAMPION))._value.get() for gauge in (MODEL_VERSION, MODEL_BEHIND))  # type: ignore[return-value]


def changes(outcome: str) -> float:
    return float(MODEL_CHANGES.labels(str(CHAMPION), outcome)._value.get())


async def test_a_moved_alias_changes_the_model_over_and_back() -> None:
    world = World()
    assert not await world.follower.look()
    assert world.loaded == []
    world.points_at = 2
    assert await world.follower.look()
    assert (world.holder.current.model, world.holder.current.version) == ("2", "models:/m/2")
    assert (world.follower.serving, world.follower.problem, metrics()) == (version(2), None, (2, 0))
    await world.holder.settled()
    assert world.closed == ["1"]
    world.points_at = 1
    assert await world.follower.look()
    assert world.holder.current.version == "models:/m/1"
    assert world.loaded == ["2", "1"]


async def test_what_serves_goes_on_while_the_next_is_loaded() -> None:
    world = World(points_at=2)
    world.gate.clear()
    looking = asyncio.create_task(world.follower.look())
    with world.holder.use() as held:
        await asyncio.sleep(0)
        assert held.model == "1"
        world.gate.set()
        assert await looking
        assert held.model == "1"
        assert world.holder.current.model == "2"
        assert world.closed == []
    await world.holder.settled()
    assert world.closed == ["1"]


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
    assert world.holder.current.version == "models:/m/1"
    problem = world.follower.problem
    assert problem is not None
    assert "models:/m/2 is refused" in problem
    assert told in problem
    assert "models:/m/1 goes on serving" in problem
    assert "secret" not in problem
    assert (metrics(), changes("refused") - before) == ((1, 1), 1)
    assert caplog.text.count("is refused") == 1
    assert len(world.closed) == len(world.loaded)  # what was loaded for nothing is freed
    world.now += 601  # its files may have been put right
    del world.wrong[step]
    assert await world.follower.look()
    assert (world.follower.problem, metrics()) == (None, (2, 0))


async def test_a_refused_version_that_the_alias_leaves_is_no_problem_any_more() -> None:
    world = World(points_at=2, wrong={"accept": InvalidInput("no")})
    await world.follower.look()
    world.points_at = 1
    assert not await world.follower.look()
    assert (world.follower.problem, metrics()) == (None, (1, 0))


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
        await world.accepted.wait()
    assert world.holder.current.model == "2"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_what_is_loaded_for_a_follower_that_was_cancelled_is_freed() -> None:
    world = World(points_at=2)
    loads, goes_on, freed = threading.Event(), threading.Event(), threading.Event()

    def load(path: Path) -> str:
        loads.set()
        goes_on.wait(60)
        return path.name

    def close(model: str) -> None:
        world.closed.append(model)
        freed.set()

    source = ModelSource(world._look, world._path, load, world._accept, close)
    looking = asyncio.create_task(AliasFollower(CHAMPION, version(1), world.holder, source, interval=1).look())
    assert await asyncio.to_thread(loads.wait, 60)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    goes_on.set()
    assert await asyncio.to_thread(freed.wait, 60)
    assert world.closed == ["2"]
    assert world.holder.current.model == "1"


async def test_a_start_without_the_registry_is_told_until_it_answers() -> None:
    world = World()
    follower = AliasFollower(
        CHAMPION,
        version(1),
        world.holder,
        ModelSource(world._look, world._path, world._load, world._accept, world.closed.append),
        interval=1,
        as_last_seen=True,
    )
    assert "as last seen" in str(follower.problem)
    assert metrics() == (1, 1)
    assert not await follower.look()
    assert (follower.problem, metrics()) == (None, (1, 0))
