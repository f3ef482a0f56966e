"""One worker process, seen from ragstone: start it, exchange messages with it, kill it from any thread."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, cast

from ragstone.adapters.parsing.worker import read_message, write_message

# `-I`: neither the environment nor the working directory decides what is imported. The paths are handed over, because a source tree or a
# user's site directory would be missing otherwise.
_ENTRY = "import sys; sys.path[:] = sys.argv[4:]; from ragstone.adapters.parsing.worker import main; main()"
_KEPT_ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")  # without the first two some interpreters don't start


class WorkerDied(Exception):
    """The process ended before it had answered. `signal` is the number of the signal, 0 if it was none."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.signal = number


class WorkerProcess:
    """Not thread-safe but for `kill`."""

    def __init__(self, memory: int, cpu: float) -> None:
        arguments = [sys.executable, "-I", "-c", _ENTRY, str(memory), str(cpu), str(os.getpid()), *_import_paths()]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
            cwd="/",
            start_new_session=True,
        )
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        self.ready: set[str] = set()  # parsers that it has imported

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def exchange(self, header: dict[str, Any], body: bytes, answer_limit: int) -> tuple[dict[str, Any], bytes]:
        """Sends a request and waits for the answer, of at most `answer_limit` bytes. Raises `WorkerDied`."""
        try:
            write_message(self._stdin, header, body)
            answer = read_message(self._stdout, answer_limit)
        except (OSError, EOFError, ValueError):
            answer = None
        if answer is None:
            raise WorkerDied(self.end())
        return answer

    def kill(self) -> None:
        """Kills it and whatever it started; whoever waits in `exchange` gets `WorkerDied`."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kills it, waits for its end and returns the number of the signal that ended it (0 if none did)."""
        self.kill()  # changes nothing about how a process ended that closed its stdout by dying
        code = self._process.wait()
        for stream in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                stream.close()
        return -code if code < 0 else 0


def _import_paths() -> list[str]:
    """Absolute paths from which this process imports, the one of ragstone first."""
    ours = str(Path(__file__).resolve().parents[3])
    return [ours, *(path for path in sys.path if path and path != ours and Path(path).is_absolute())]
