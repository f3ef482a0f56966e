"""One process of the tree: started with a log of its own, waited for, started again when it dies, ended with everything it started."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ragstone.domain.errors import Unavailable
from ragstone.services.devtree.specs import Spec
from ragstone.services.devtree.state import State

_LOOK = 0.1  # seconds between two questions whether it is
_SHORT = 20.0  # seconds; one that lived shorter has failed to start
_TRIES = 5  # failures to start, one after another, after which the tree ends
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0  # seconds before it is started again
_PR_SET_PDEATHSIG = 1

Tell = Callable[[str], None]


class Child:
    """`keep` runs it until it is ended."""

    def __init__(self, spec: Spec, state: State, variables: Mapping[str, str], tell: Tell) -> None:
        self.spec = spec
        self.log = state.directory("logs") / f"{spec.name.lower().replace(' ', '-')}.log"
        self.up = asyncio.Event()
        self._variables = variables
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._ending = False

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def keep(self) -> None:
        """Starts it, and again whenever it has ended by itself. Returns once it was ended. Raises `Unavailable` when it does not stay up."""
        short, pause = 0, _FIRST_PAUSE
        while not self._ending:
            began = time.monotonic()
            self._process = await self._start()
            became_up = asyncio.create_task(self._becomes_up())
            try:
                status = await self._process.wait()
            finally:
                became_up.cancel()
                was_up = self.up.is_set()
                self.up.clear()
            if self._ending:
                return
            self._kill()  # what it started and left
            short = short + 1 if time.monotonic() - began < _SHORT or not was_up else 0
            if short >= _TRIES:
                raise Unavailable(f"{self.spec.name} does not stay up (status {status}); its log is {self.log}.", field="profile")
            pause = min(_LONGEST_PAUSE, 2 * pause) if short else _FIRST_PAUSE
            self._tell(f"{self.spec.name} ended (status {status}); it is started again in {pause:.0f} s. Its log: {self.log}")
            await asyncio.sleep(pause)

    async def end(self) -> None:
        """SIGTERM to its group, after a grace SIGKILL."""
        self._ending = True
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.spec.grace):
                await self._process.wait()
        self._kill()
        await self._process.wait()

    def kill(self) -> None:
        """At once."""
        self._ending = True
        self._kill()

    async def _start(self) -> asyncio.subprocess.Process:
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.spec.directory,
                env={**os.environ, **self._variables, **self.spec.environment},
                start_new_session=True,  # a group of its own: Ctrl-C reaches the parent alone, which ends the others in order
                preexec_fn=_ends_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise Unavailable(
                f"{self.spec.name}: it can't be started ({(error.strerror or str(error)).lower()}).", field="profile"
            ) from None
        finally:
            os.close(log)

    async def _becomes_up(self) -> None:
        deadline = time.monotonic() + self.spec.patience
        while not await self.spec.ready():
            if time.monotonic() > deadline:
                self._kill()  # counts as one that ended
                return
            await asyncio.sleep(_LOOK)
        self.up.set()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)


_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None  # loaded here, for nothing may be loaded after a fork


def _ends_with_parent() -> None:
    """The kernel sends SIGTERM when the parent is gone, however it went."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
