"""One process of the tree: it comes up, is started again, and ends with all that it started."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ragstone.domain.errors import Unavailable
from ragstone.services.devtree import asking, child
from ragstone.services.devtree.child import Child
from ragstone.services.devtree.specs import Spec
from ragstone.services.devtree.state import State, write_private
from tests.servers.nats import free_port
from tests.support.server import running

SLEEPS = "import time; print('up', flush=True); time.sleep(600)"
# Starts another one and writes down who it is; neither heeds SIGTERM.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
open(sys.argv[1] + ".part", "w").write(f"{os.getpid()} {other.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(600)
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path)
    with made.locked():
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_PAUSE", "_LONGEST_PAUSE", "_LOOK"):
        monkeypatch.setattr(child, name, 0.02)


def process(
    state: State,
    program: str,
    *arguments: str,
    told: list[str] | None = None,
    grace: float = 10.0,
    patience: float = 180.0,
    up: bool = True,
) -> Child:
    async def ready() -> bool:
        return up

    command = (sys.executable, "-c", program, *arguments)
    spec = Spec("server 1", command, state.folder, ready, "http://127.0.0.1:1", environment={"GIVEN": "x"}, grace=grace, patience=patience)
    return Child(spec, state, {"ALSO": "y"}, (told if told is not None else []).append)


@asynccontextmanager
async def kept(one: Child) -> AsyncIterator[asyncio.Task[None]]:
    keeping = asyncio.create_task(one.keep())
    try:
        yield keeping
    finally:
        await one.end()
        await asyncio.wait_for(keeping, 60)


async def soon(condition: object, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Zombies are not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_it_comes_up_with_its_log_and_environment_and_ends(state: State) -> None:
    one = process(state, "import os, time; print(os.environ['GIVEN'], os.environ['ALSO'], flush=True); time.sleep(600)")
    async with kept(one):
        await asyncio.wait_for(one.up.wait(), 60)
        pid = one.pid
        assert pid is not None
        assert os.getpgid(pid) == pid
        await soon(lambda: one.log.read_text() == "x y\n")
    assert not alive(pid)
    assert one.pid is None
    assert one.log.stat().st_mode & 0o777 == 0o600


async def test_one_that_dies_is_started_again_and_that_is_told(state: State, impatient: None) -> None:
    told: list[str] = []
    one = process(state, SLEEPS, told=told)
    async with kept(one):
        await asyncio.wait_for(one.up.wait(), 60)
        first = one.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await soon(lambda: one.pid not in (first, None))
        assert told == [f"server 1 ended (status -9); it is started again in 0 s. Its log: {one.log}"]


async def test_one_that_does_not_stay_up_ends_the_tree(state: State, impatient: None) -> None:
    told: list[str] = []
    one = process(state, "import sys; sys.exit('no such option')", told=told)
    with pytest.raises(Unavailable, match=r"server 1 does not stay up \(status 1\); its log is .*server-1\.log"):
        await asyncio.wait_for(one.keep(), 60)
    assert len(told) == 4
    assert one.log.read_text() == "no such option\n" * 5


async def test_one_that_never_answers_ends_the_tree(state: State, impatient: None) -> None:
    with pytest.raises(Unavailable, match=r"status -9"):
        await asyncio.wait_for(process(state, SLEEPS, up=False, patience=0.05).keep(), 60)


async def test_a_program_that_is_not_there_is_told(state: State) -> None:
    spec = Spec("server", (str(state.folder / "absent"),), state.folder, asking.http(1, "/"), "")
    with pytest.raises(Unavailable, match="server: it can't be started"):
        await Child(spec, state, {}, list[str]().append).keep()


async def test_the_end_of_one_that_does_not_heed_it_is_the_end_of_all_it_started(state: State, tmp_path: Path) -> None:
    written = tmp_path / "pids"
    one = process(state, STUBBORN, str(written), grace=0.2)
    async with kept(one):
        await soon(written.exists)
        pids = [int(pid) for pid in written.read_text().split()]
        assert all(alive(pid) for pid in pids)
    await soon(lambda: not any(alive(pid) for pid in pids))


async def test_killing_needs_no_grace(state: State) -> None:
    one = process(state, SLEEPS)
    keeping = asyncio.create_task(one.keep())
    await asyncio.wait_for(one.up.wait(), 60)
    one.kill()
    await asyncio.wait_for(keeping, 60)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children of their parent's end on Linux")
def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent = tmp_path / "parent.py"
    write_private(
        parent,
        "import asyncio, sys\nfrom pathlib import Path\nfrom ragstone.services.devtree.child import Child\n"
        "from ragstone.services.devtree.specs import Spec\nfrom ragstone.services.devtree.state import State\n"
        "async def main():\n"
        "    state = State(Path(sys.argv[1]))\n"
        "    async def ready(): return True\n"
        "    with state.locked():\n"
        "        one = Child(Spec('server', (sys.executable, '-c', 'import time; time.sleep(600)'), state.folder, ready, ''), state, {}, print)\n"
        "        keeping = asyncio.create_task(one.keep())\n"
        "        await one.up.wait()\n"
        "        print(one.pid, flush=True)\n"
        "        await keeping\n"
        "asyncio.run(main())\n",
    )
    with subprocess.Popen([sys.executable, str(parent), str(tmp_path / "data")], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        pid = int(started.stdout.readline())
        assert alive(pid)
        started.kill()
        deadline = time.monotonic() + 20
        while alive(pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)


async def test_asking_wants_a_success() -> None:
    statuses = iter([503, 200])

    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": next(statuses), "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body"})  # type: ignore[operator]

    async with running(app) as address:
        ready = asking.http(int(address.rpartition(":")[2]), "/readyz")
        assert [await ready(), await ready()] == [False, True]
    assert not await asking.http(free_port(), "/readyz")()
