"""Which servers a tree is made of, from one start to the next; how it starts and ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ragstone.adapters.data_directory import open_data_directory
from ragstone.domain.errors import DataDirectoryError, Unavailable
from ragstone.services.devtree import asking, child, tree
from ragstone.services.devtree.model_services import embedding
from ragstone.services.devtree.programs import LAKEFS, MLFLOW, MONGO, NATS, QDRANT, SHARED, Found
from ragstone.services.devtree.specs import Ready, Spec, spec
from ragstone.services.devtree.state import State
from ragstone.services.devtree.tree import Tree, Wanted, facts

ALL = (*SHARED, MLFLOW)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path)
    with made.locked():
        yield made


def found(*servers: str) -> Found:
    missing = {server: f"{server}: there is no `x` on PATH; something else." for server in ALL if server not in servers}
    return Found({server: Path("/bin") / server.lower() for server in servers}, missing)


def made(state: State, there: Found, *, configured: frozenset[str] = frozenset(), told: list[str] | None = None) -> Tree:
    wanted = Wanted(state.folder.parent, "127.0.0.1", 8642, 2, ("--model", "m"), configured)
    return Tree(wanted, there, state, lambda _: answers(), (told if told is not None else []).append)


def answers(*, up: bool = True) -> Ready:
    async def ready() -> bool:
        return up

    return ready


def test_with_every_store_there_are_an_api_and_workers(state: State) -> None:
    several = made(state, found(*ALL))
    assert several.choose() == []
    own = several._own()
    assert [one.name for one in own] == ["API", "worker 1", "worker 2"]
    assert own[0].environment == {"RAGSTONE_ROLE": "api"}
    directories = [one.command[one.command.index("--data-dir") + 1] for one in own]
    assert len({*directories}) == 3
    assert all(one.command[3:5] == ("--model", "m") for one in own)


@pytest.mark.parametrize("gone", SHARED)
def test_without_one_of_them_one_process_does_everything(state: State, gone: str) -> None:
    one = made(state, found(*(server for server in ALL if server != gone)))
    assert one.choose() == [f"{gone}: there is no `x` on PATH; something else."]
    assert [spec.environment for spec in one._own()] == [{"RAGSTONE_ROLE": "all"}]


def test_a_server_of_the_settings_is_neither_started_nor_missed(state: State) -> None:
    given = made(state, found(MONGO, LAKEFS, NATS), configured=frozenset({QDRANT, NATS}))
    assert given.choose() == ["MLflow: there is no `x` on PATH; something else."]
    assert given.several
    assert given._started() == [MONGO, LAKEFS]


def test_a_server_that_holds_data_is_not_replaced_by_an_empty_store(state: State) -> None:
    made(state, found(MONGO, NATS)).choose()
    with pytest.raises(DataDirectoryError, match=r"NATS holds data of this directory, and can't be started: there is no `x` on PATH;"):
        made(state, found(MONGO)).choose()


def test_a_server_that_comes_later_is_not_used_for_data_that_lie_elsewhere(state: State) -> None:
    made(state, found(MONGO)).choose()
    later = made(state, found(MONGO, QDRANT))
    assert "Qdrant: it is there now, but this data directory was begun without it, and goes on so." in later.choose()
    assert not later.several


def test_an_embedded_knowledge_base_is_not_hidden_by_servers(state: State) -> None:
    open_data_directory(state.folder.parent).close()
    with pytest.raises(DataDirectoryError, match="made without the profile"):
        made(state, found(MONGO)).choose()


def test_secrets_are_in_files_that_nobody_else_may_read_and_on_no_command_line(state: State) -> None:
    specs = [spec(name, Path(f"/bin/{name}"), state, lambda port, path: answers(), lambda port: answers()) for name in ALL]
    secrets = {path.read_text() for path in state.directory("secrets").iterdir()}
    assert len(secrets) == 4
    for one in specs:
        assert not any(secret in part for part in one.command for secret in secrets), one.name
        assert not any(secret in value for value in one.variables.values() for secret in secrets), one.name
        assert "127.0.0.1" in one.address
    for config in (state.folder / "lakefs" / "lakefs.yaml", state.folder / "nats" / "nats.conf"):
        assert config.stat().st_mode & 0o777 == 0o600
        assert "127.0.0.1:" in config.read_text()


def test_mongod_is_a_replica_set_and_its_stand_in_is_durable(state: State) -> None:
    def command(name: str) -> tuple[str, ...]:
        return spec(MONGO, Path(f"/bin/{name}"), state, lambda port, path: answers(), lambda port: answers()).command

    assert command("mongod")[command("mongod").index("--replSet") + 1] == "rs0"
    assert "--sync-on-commit" in command("secantusd-py")


def written(path: Path) -> Ready:
    def is_written() -> bool:
        return path.exists() and bool(path.read_text())

    async def ready() -> bool:
        return is_written()

    return ready


class Sleepers:
    """A tree whose processes only sleep; the servers are in `names`."""

    def __init__(self, state: State, monkeypatch: pytest.MonkeyPatch, program: str = "import time; time.sleep(600)") -> None:
        def sleeper(name: str, *_: object) -> Spec:
            return Spec(name, (sys.executable, "-c", program), state.folder, answers(), "http://127.0.0.1:1", variables={"OF": name})

        self.told: list[str] = []
        monkeypatch.setattr(tree, "spec", sleeper)
        self.tree = made(state, found(MONGO, MLFLOW), told=self.told)
        self.tree.choose()
        monkeypatch.setattr(Tree, "_own", lambda _: [sleeper("API")])


async def test_servers_come_first_and_a_cancelled_tree_leaves_nothing(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers, ready = Sleepers(state, monkeypatch), asyncio.Event()
    running = asyncio.create_task(sleepers.tree.run(ready.set))
    await asyncio.wait_for(ready.wait(), 60)
    processes = facts(sleepers.tree)
    assert [one["name"] for one in processes] == [MONGO, "API", MLFLOW]
    assert sleepers.told[0] == "MongoDB is up."
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert [one["pid"] for one in facts(sleepers.tree)] == [None, None, None]


async def test_the_embedding_service_is_there_before_those_that_ask_it(
    state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sleepers, ready = Sleepers(state, monkeypatch), asyncio.Event()
    seen = tmp_path / "seen"
    monkeypatch.setattr(asking, "http", lambda *_: answers())
    code = f"import os, time; open({str(seen)!r}, 'w').write(os.environ['RAGSTONE_EMBEDDER__BASE_URL']); time.sleep(600)"
    monkeypatch.setattr(Tree, "_own", lambda _: [Spec("API", (sys.executable, "-c", code), state.folder, written(seen), "")])
    sleeper = (sys.executable, "-c", "import time; time.sleep(600)")
    sleepers.tree._wanted = replace(sleepers.tree._wanted, services=(partial(embedding, sleeper, "/models/tiny"),))
    running = asyncio.create_task(sleepers.tree.run(ready.set))
    await asyncio.wait_for(ready.wait(), 60)
    processes = {str(one["name"]): one for one in facts(sleepers.tree)}
    assert list(processes) == [MONGO, "embedding", "API", MLFLOW]
    assert seen.read_text() == f"{processes['embedding']['address']}/v1"
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_process_that_does_not_stay_up_ends_the_others(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_PAUSE", "_LONGEST_PAUSE"):
        monkeypatch.setattr(child, name, 0.01)
    program = "import os, sys, time; sys.exit(3) if os.environ.get('OF') else time.sleep(600)"
    sleepers = Sleepers(state, monkeypatch, program)
    with pytest.raises(Unavailable, match=r"API does not stay up \(status 3\)"):
        await asyncio.wait_for(sleepers.tree.run(lambda: None), 60)
    assert [one["pid"] for one in facts(sleepers.tree)] == [None] * len(sleepers.tree.children)


async def test_who_is_waited_for_is_told(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_TOLD_EVERY", 0.05)
    sleepers = Sleepers(state, monkeypatch)
    never = Spec("never", (sys.executable, "-c", "import time; time.sleep(600)"), state.folder, answers(up=False), "")
    monkeypatch.setattr(Tree, "_own", lambda _: [never])
    running = asyncio.create_task(sleepers.tree.run(lambda: None))
    async with asyncio.timeout(60):
        while not any("Waiting for never ..." in line for line in sleepers.told):  # noqa: ASYNC110 - nobody tells more
            await asyncio.sleep(0.02)
    sleepers.tree.kill()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
