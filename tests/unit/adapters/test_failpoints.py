"""Failpoints: every name belongs to a port's method, each action does what it says, and bad specifications are refused."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal

import pytest

from ragstone.adapters.failpoints import SIDE_EFFECTS, Failpoint, Failpoints, names, parse
from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.ports.catalog import Catalog
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.interaction_log import InteractionLog
from ragstone.ports.job_queue import JobQueue
from ragstone.ports.staging import Staging
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.platform import Adapters

PORTS = {
    "catalog": Catalog,
    "versions": VersionStore,
    "index": VectorIndex,
    "staging": Staging,
    "queue": JobQueue,
    "interactions": InteractionLog,
    "embedder": EmbeddingModel,
}


class Queue:
    """Remembers what was enqueued."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.size = 7

    async def enqueue(self, collection: str, job_id: str) -> str:
        self.jobs.append(job_id)
        return f"{collection}/{job_id}"


def test_every_name_is_a_method_of_an_adapter_of_the_platform() -> None:
    assert SIDE_EFFECTS.keys() == PORTS.keys() <= inspect.get_annotations(Adapters).keys()
    for port, methods in SIDE_EFFECTS.items():
        for method in methods:
            assert inspect.iscoroutinefunction(getattr(PORTS[port], method)), f"{port}.{method}"
    assert len(set(names())) == 2 * sum(map(len, SIDE_EFFECTS.values()))


def test_a_specification_names_point_hit_and_action() -> None:
    assert parse("index.insert.after=kill, catalog.publish.before@3=lost,") == (
        Failpoint("index.insert.after", "kill"),
        Failpoint("catalog.publish.before", "lost", 3),
    )
    assert [str(point) for point in parse("index.insert.after=kill,catalog.publish.before@3=lost")] == [
        "index.insert.after=kill",
        "catalog.publish.before@3=lost",
    ]
    assert parse("") == ()


@pytest.mark.parametrize(
    ("specification", "told"),
    [
        ("index.inset.after=kill", "did you mean index.insert.after?"),
        ("queue=kill", "it has the form"),
        ("index.insert.after=explode", "kill, error, lost, pause"),
        ("index.insert.after", "write name=action"),
        ("index.insert.after@0=kill", "write name=action"),
        ("index.insert.after=kill;rm", "write name=action"),
        ("index.insert.after@2~word=kill", "write name=action"),
        ("index.insert.after~a b=kill", "write name=action"),
    ],
)
def test_bad_specifications_are_refused_with_help(specification: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=r"failpoint|RAGSTONE_FAILPOINTS") as refused:
        parse(specification)
    assert told in refused.value.message


async def test_nothing_is_changed_when_none_is_reached() -> None:
    queue = Queue()
    wrapped = Failpoints().wrap("queue", queue)
    assert await wrapped.enqueue("docs", "j1") == "docs/j1"
    assert wrapped.size == 7


async def test_before_an_effect_it_is_not_done_and_after_it_is() -> None:
    for moment, jobs in (("before", []), ("after", ["j1"])):
        queue = Queue()
        failpoints = Failpoints(parse(f"queue.enqueue.{moment}=lost"))
        with pytest.raises(Unavailable):
            await failpoints.wrap("queue", queue).enqueue("docs", "j1")
        assert queue.jobs == jobs
        with pytest.raises(RuntimeError, match=r"queue\.enqueue"):
            await Failpoints(parse(f"queue.enqueue.{moment}=error")).wrap("queue", Queue()).enqueue("docs", "j1")


async def test_only_the_hit_that_is_named_acts() -> None:
    failpoints = Failpoints(parse("queue.enqueue.before@2=lost"))
    wrapped = failpoints.wrap("queue", Queue())
    await wrapped.enqueue("docs", "j1")
    with pytest.raises(Unavailable):
        await wrapped.enqueue("docs", "j2")
    await wrapped.enqueue("docs", "j3")
    assert [str(point) for point in failpoints.fired] == ["queue.enqueue.before@2=lost"]
    assert failpoints.hits == {"queue.enqueue.before": 3, "queue.enqueue.after": 2}
    failpoints.arm()
    await wrapped.enqueue("docs", "j4")
    assert failpoints.fired == []


async def test_with_a_word_each_call_that_is_given_it_acts() -> None:
    (point,) = parse("queue.enqueue.after~j2=lost")
    assert (point.word, str(point)) == ("j2", "queue.enqueue.after~j2=lost")
    queue = Queue()
    wrapped = Failpoints((point,)).wrap("queue", queue)
    for _ in range(2):
        await wrapped.enqueue("docs", "j1")
        with pytest.raises(Unavailable):
            await wrapped.enqueue("docs", job_id="j2")
    assert queue.jobs == ["j1", "j2"] * 2


async def test_a_pause_ends_when_it_is_told_to() -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def pause(name: str) -> None:
        assert name == "queue.enqueue.after"
        reached.set()
        await go.wait()

    queue = Queue()
    call = asyncio.create_task(Failpoints(parse("queue.enqueue.after=pause"), pause=pause).wrap("queue", queue).enqueue("docs", "j1"))
    await reached.wait()
    assert queue.jobs == ["j1"]
    assert not call.done()
    go.set()
    assert await call == "docs/j1"


@pytest.mark.parametrize(("action", "sent"), [("kill", signal.SIGKILL), ("pause", signal.SIGSTOP)])
async def test_signals(action: str, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    await Failpoints(parse(f"queue.enqueue.before={action}")).wrap("queue", Queue()).enqueue("docs", "j1")
    assert signals == [(os.getpid(), sent)]
