"""Forks of a process that has imported everything, opened nothing and started no thread: a crash costs milliseconds instead of a Python start."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class Child:
    """A forked process that tells its parent lines of JSON. `lines` are those read so far."""

    pid: int
    reader: int
    _rest: bytes = b""
    _ended: bool = False

    def read(self, timeout: float | None = None) -> list[Any]:
        """Lines that have come, after waiting at most `timeout` seconds for the first of them; `ended` when there will be no more."""
        ready, _, _ = select.select([self.reader], [], [], timeout)
        if not ready:
            return []
        data = os.read(self.reader, 1 << 16)
        if not data:
            self._ended = True
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    @property
    def ended(self) -> bool:
        return self._ended

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> tuple[list[Any], int]:
        """Everything it still tells, and how it ended: 0, an exit status, or minus the number of a signal."""
        lines: list[Any] = []
        while not self._ended:
            lines += self.read()
        os.close(self.reader)
        return lines, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


Tell = Callable[[Any], None]


def fork(work: Callable[[Tell], None]) -> Child:
    """Runs `work` in a child; an exception there ends it with status 1 and a trace on stderr."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(writer)
        return Child(pid, reader)
    os.close(reader)
    status = 1
    try:
        work(lambda line: _write(writer, line))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def in_parallel(works: Iterable[Callable[[Tell], None]], at_once: int) -> Iterator[tuple[int, list[Any], int]]:
    """(number, lines told, how it ended) of each of `works` in the order in which they end."""
    waiting = enumerate(works)
    running: dict[int, tuple[Child, list[Any]]] = {}
    while True:
        while len(running) < at_once and (following := next(waiting, None)) is not None:
            running[following[0]] = (fork(following[1]), [])
        if not running:
            return
        ready, _, _ = select.select([child.reader for child, _ in running.values()], [], [])
        for number, (child, lines) in list(running.items()):
            if child.reader in ready:
                lines.extend(child.read())
                if child.ended:
                    del running[number]
                    yield number, lines, child.wait()[1]


def _write(writer: int, line: Any) -> None:
    data = json.dumps(line).encode() + b"\n"
    while data:
        data = data[os.write(writer, data) :]
