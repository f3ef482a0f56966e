"""An engine's server as a child process: started, watched, and started again when it dies or hangs."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ragstone.adapters.openai_engine import EngineClient, HttpEngineReply
from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.domain.generation import ServedModel
from ragstone.telemetry.generation_metrics import ENGINE_RESTARTS

_LOOK = 1.0  # seconds between two questions whether it is up
_WATCH = 2.0  # seconds between two questions whether it still is
_DEAF = 3  # such questions without an answer, one after another: it hangs
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before it is started again, doubled from one failure to the next
_GRACE = 10.0  # seconds between SIGTERM and SIGKILL
_PR_SET_PDEATHSIG = 1
_log = logging.getLogger(__name__)


class KeptEngine:
    """`GenerationEngine` over a process that answers OpenAI's protocol on a Unix socket. What it writes goes to this process's stderr.

    `names`: the model's, then those of adapters. `command`: what starts it, given the path of the socket, which lies in a folder for this user alone.
    `checked`: looks at the files in a thread of its own before anything is started, and returns the model's digest; raises `NotFound` or `InvalidInput`.
    `environment`: variables beside this process's own, of which those of ragstone are left out: they may hold secrets. `silent`: seconds with work and
    without a word after which it is taken to hang. `startup`: seconds until it must answer.
    """

    def __init__(
        self,
        names: Sequence[str],
        version: str,
        command: Callable[[Path], Sequence[str]],
        checked: Callable[[], str],
        *,
        startup: float,
        silent: float,
        environment: Mapping[str, str],
    ) -> None:
        self._names = tuple(names)
        self._model = ServedModel(self._names[0], version)
        self._checked = checked
        self._startup = startup
        self._silent = silent
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAGSTONE_")}
        self._environment = {**own, **environment}
        self._folder = Path(tempfile.mkdtemp(prefix="ragstone-engine-"))  # for this user alone
        self._socket = self._folder / "engine.sock"  # llama.cpp knows a socket by the end of its name
        self._command_of = command
        self._command: Sequence[str] = ()
        self._client = EngineClient("http://engine", socket=self._socket)
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._up = False
        self._first = asyncio.Event()  # it answered, or failed, for the first time
        self._failure = ""  # why it was not up at that time
        self._pause = _FIRST_PAUSE

    @property
    def model(self) -> ServedModel:
        """With its digest once it is started."""
        return self._model

    @property
    def names(self) -> tuple[str, ...]:
        """The model's, and those of the adapters."""
        return self._names

    @property
    def lost(self) -> bool:
        """False: it is started again."""
        return False

    @property
    def pid(self) -> int | None:
        """Of the process that runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Checks the files, then starts the process and returns; `check` tells when it is up."""
        digest = await asyncio.to_thread(self._checked)
        self._model = ServedModel(self._model.name, self._model.version, digest)
        self._command = self._command_of(self._socket)
        self._keeping = asyncio.create_task(self._keep())

    async def ready(self) -> None:
        """Raises `InvalidInput` when the first process ends, or does not answer in time."""
        await self._first.wait()
        if self._failure:
            raise InvalidInput(f"The engine {self._failure}; its own words are in the log.", field="engine")

    async def check(self) -> None:
        """Raises `Unavailable` while it is not up."""
        if not self._up or not await self._client.healthy("/health"):
            raise self._away()

    async def chat(self, body: bytes) -> HttpEngineReply:
        if not self._up:
            raise self._away()
        return await self._client.chat(body)

    async def metrics(self) -> str:
        return await self._client.metrics() if self._up else ""

    async def close(self) -> None:
        """SIGTERM, after 10 s SIGKILL, to everything that it has started."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        self._up = False
        await self._end()
        await self._client.aclose()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _keep(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self._process = await self._begin()
                why = await self._until_up(self._process) or await self._until_it_fails(self._process)
            except OSError as error:
                why = f"can't be started ({(error.strerror or str(error)).lower()})"
            self._up = False
            if not self._first.is_set():
                self._failure = why
                self._first.set()
            await self._end()
            _log.error("The engine %s after %.0f s; it is started again in %.0f s.", why, time.monotonic() - began, self._pause)
            await asyncio.sleep(self._pause)
            ENGINE_RESTARTS.inc()
            self._pause = min(_LONGEST_PAUSE, 2 * self._pause)

    async def _begin(self) -> asyncio.subprocess.Process:
        self._socket.unlink(missing_ok=True)  # of the one before
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env=self._environment,
            start_new_session=True,  # a group of its own, which can be ended with all its workers
            preexec_fn=_ends_with_parent if sys.platform == "linux" else None,
        )

    async def _until_up(self, process: asyncio.subprocess.Process) -> str:
        """Empty once it answers, else why it will not."""
        until = time.monotonic() + self._startup
        while process.returncode is None:
            if await self._client.healthy("/health"):
                self._up, self._pause = True, _FIRST_PAUSE
                self._first.set()
                return ""
            if time.monotonic() > until:
                return "did not answer in time"
            await _wait(process, _LOOK)
        return f"ended with status {process.returncode}"

    async def _until_it_fails(self, process: asyncio.subprocess.Process) -> str:
        deaf = 0
        while process.returncode is None:
            deaf = 0 if await self._client.healthy("/health") else deaf + 1
            if deaf >= _DEAF or self._client.silence > self._silent:
                return "hangs"
            await _wait(process, _WATCH)
        return f"ended with status {process.returncode}"

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        _signal(process, signal.SIGTERM)
        await _wait(process, _GRACE)
        _signal(process, signal.SIGKILL)  # its workers too, and what hangs
        await process.wait()

    def _away(self) -> Unavailable:
        return Unavailable("The engine is not up; it is being started.", field="engine", retry_after=max(5.0, self._pause))


async def _wait(process: asyncio.subprocess.Process, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _ends_with_parent() -> None:
    """In the child, before it becomes the engine: SIGTERM when this process is killed, else GPUs would stay taken."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
