"""The tree: servers first, then API and workers; ended in the reverse order."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragstone.domain.errors import DataDirectoryError
from ragstone.services.devtree import asking
from ragstone.services.devtree.child import Child, Tell
from ragstone.services.devtree.programs import SHARED, Found
from ragstone.services.devtree.specs import Http, Ready, Spec, spec
from ragstone.services.devtree.state import State

_TOLD_EVERY = 5.0  # seconds
_WORKERS_GRACE, _API_GRACE = 30.0, 20.0  # seconds
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not listened on, but asked
_RAGSTONE = (sys.executable, "-m", "ragstone.cli.main")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`flags`: of every ragstone process. `configured`: servers that the settings name already; they are somebody else's.

    `services`: those that run models. Like a store they are needed at the start, but they hold nothing.
    """

    data_dir: Path
    host: str
    port: int
    workers: int
    flags: tuple[str, ...]
    configured: frozenset[str]
    services: tuple[Callable[[State, Http], Spec], ...] = ()


class Tree:
    """`run` starts everything, calls `ready`, and returns when it is cancelled; then nothing runs any more."""

    def __init__(self, wanted: Wanted, found: Found, state: State, primary: Callable[[int], Ready], tell: Tell) -> None:
        self._wanted = wanted
        self._found = found
        self._state = state
        self._primary = primary
        self._tell = tell
        self._services: list[Spec] = []
        self.children: list[Child] = []

    @property
    def several(self) -> bool:
        """Whether API and workers are processes of their own: all stores are servers then."""
        return all(server in self._wanted.configured or server in (self._state.servers or ()) for server in SHARED)

    def choose(self) -> list[str]:
        """Which servers are started: those of the first start, else all that can be. Returns what is missing, as sentences.

        Raises `DataDirectoryError` when a server is gone that holds data, or the directory holds an embedded knowledge base.
        """
        able = [server for server in self._found.programs if server not in self._wanted.configured]
        if self._state.servers is None:
            if (self._wanted.data_dir / "FORMAT").exists():
                raise DataDirectoryError(
                    "this data directory was made without the profile, so what is in it would not be found; name another one with --data-dir.",
                    field="data_dir",
                )
            self._state.choose(able)
        for server in self._state.servers or ():
            if server not in able and server not in self._wanted.configured:
                why = self._found.missing[server].partition(";")[0].partition(": ")[2]
                raise DataDirectoryError(
                    f"{server} holds data of this directory, and can't be started: {why}; put it back, or name another directory.",
                    field="data_dir",
                )
        later = [server for server in able if server not in (self._state.servers or ())]
        words = [sentence for server, sentence in self._found.missing.items() if server not in self._wanted.configured]
        return words + [f"{server}: it is there now, but this data directory was begun without it, and goes on so." for server in later]

    async def run(self, ready: Callable[[], None]) -> None:
        """Raises `Unavailable` when a process does not stay up."""
        servers = [spec(name, self._found.programs[name], self._state, asking.http, self._primary) for name in self._started()]
        self._services = [made(self._state, asking.http) for made in self._wanted.services]
        first = [*(one for one in servers if one.name in SHARED), *self._services]
        others = [one for one in servers if one.name not in SHARED]
        variables = {name: value for one in (*first, *others) for name, value in one.variables.items()}
        try:
            async with asyncio.TaskGroup() as group:
                await self._up(group, first, {})
                await self._up(group, [*self._own(), *others], variables)
                ready()
        except ExceptionGroup as failures:  # the first is why the others were ended
            raise failures.exceptions[0] from None
        finally:
            await asyncio.shield(self._end())

    def kill(self) -> None:
        """Everything, at once."""
        for child in self.children:
            child.kill()

    def _started(self) -> list[str]:
        return [server for server in self._state.servers or () if server not in self._wanted.configured]

    def _own(self) -> list[Spec]:
        """The processes of ragstone."""
        wanted, here = self._wanted, Path.cwd()  # where ragstone.toml may be
        at = ("--data-dir", str(wanted.data_dir))
        address = ("--host", wanted.host, "--port", str(wanted.port))
        role, reached = "api" if self.several else "all", _HERE.get(wanted.host, wanted.host)
        api = Spec(
            "API",
            (*_RAGSTONE, *wanted.flags, *at, "up", *address),
            here,
            asking.http(wanted.port, "/healthz", reached),
            f"http://[{reached}]:{wanted.port}" if ":" in reached else f"http://{reached}:{wanted.port}",
            environment={"RAGSTONE_ROLE": role},
            grace=_API_GRACE,
        )
        return [api, *(self._worker(number, here) for number in range(1, 1 + wanted.workers) if self.several)]

    def _worker(self, number: int, here: Path) -> Spec:
        name, port = f"worker {number}", self._state.port(f"worker {number} (management)")
        data = self._state.folder / f"worker-{number}"
        options = ("worker", "--host", "127.0.0.1", "--management-port", str(port))
        command = (*_RAGSTONE, *self._wanted.flags, "--data-dir", str(data), *options)
        return Spec(name, command, here, asking.http(port, "/healthz"), f"http://127.0.0.1:{port}", grace=_WORKERS_GRACE)

    async def _up(self, group: asyncio.TaskGroup, specs: Sequence[Spec], variables: Mapping[str, str]) -> None:
        """Starts them together, and tells now and then which are waited for."""
        waiting: dict[asyncio.Task[bool], str] = {}
        for one in specs:
            child = Child(one, self._state, variables, self._tell)
            self.children.append(child)
            group.create_task(child.keep(), name=one.name)
            waiting[asyncio.create_task(child.up.wait())] = one.name
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, timeout=_TOLD_EVERY, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._tell(f"{waiting.pop(task)} is up.")
                if not done:
                    self._tell(f"Waiting for {', '.join(waiting.values())} ...")
        finally:
            for task in waiting:
                task.cancel()

    async def _end(self) -> None:
        """What uses the servers ends before them."""
        servers = {*self._started(), *(one.name for one in self._services)}
        own = [child for child in self.children if child.spec.name not in servers]
        for group in (own, [child for child in self.children if child.spec.name in servers]):
            await asyncio.gather(*(child.end() for child in group))


def facts(tree: Tree) -> list[dict[str, object]]:
    """Of each process: name, address, process id, log."""
    return [{"name": child.spec.name, "address": child.spec.address, "pid": child.pid, "log": str(child.log)} for child in tree.children]
