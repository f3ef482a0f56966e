"""What the subprocess is for: no document can hurt, and the next one is read as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ragstone.adapters.parsing.process import WorkerDied, WorkerProcess
from ragstone.adapters.parsing.sandbox import ParserLimits, SubprocessParser
from ragstone.domain.errors import Unavailable, UnreadableDocument
from tests.unit.adapters.parsing.samples import bomb, page_stream, pdf_of_stream

LIMITS = ParserLimits(seconds=20, cpu_seconds=20, memory=512 * 2**20, characters=100_000)
SLOW = b"<!--" * 100_000  # quadratic in the Markdown parser


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[WorkerProcess]]:
    """Every worker of the test; none may be left after it."""
    workers: list[WorkerProcess] = []
    begin = WorkerProcess.__init__

    def noting(self: WorkerProcess, memory: int, cpu: float) -> None:
        begin(self, memory, cpu)
        workers.append(self)

    monkeypatch.setattr(WorkerProcess, "__init__", noting)
    yield workers
    assert not any(worker.alive for worker in workers)


Make = Callable[[ParserLimits], SubprocessParser]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    parsers: list[SubprocessParser] = []

    def new(limits: ParserLimits) -> SubprocessParser:
        parsers.append(SubprocessParser(limits))
        return parsers[-1]

    yield new
    for parser in parsers:
        await parser.close()


async def refusal(parser: SubprocessParser, media_type: str, content: bytes) -> str:
    """Why the document is refused; then another one is read."""
    with pytest.raises(UnreadableDocument) as caught:
        await parser.parse("the/path", media_type, content)
    assert caught.value.field == "the/path"
    assert caught.value.message.startswith("the/path ")
    assert (await parser.parse("next.txt", "text/plain", b"Fine.")).text == "Fine."
    return caught.value.message


async def test_time_is_limited(make: Make, started: list[WorkerProcess]) -> None:
    parser = make(ParserLimits(seconds=0.3))
    assert "took longer than 0.3 s" in await refusal(parser, "text/markdown", SLOW)
    assert len(started) == 2


async def test_processor_time_is_limited_for_each_document(make: Make, started: list[WorkerProcess]) -> None:
    parser = make(ParserLimits(cpu_seconds=1))
    assert "more than 1 s of processor time" in await refusal(parser, "text/markdown", SLOW)
    assert len(started) == 2


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not enforce RLIMIT_AS")
async def test_memory_is_limited(make: Make) -> None:
    parser = make(ParserLimits(memory=100 * 2**20))
    assert "more than 100 MB of memory" in await refusal(parser, "application/json", b"[" + b"{}," * 2_500_000 + b"{}]")


async def test_text_is_limited(make: Make) -> None:
    parser = make(LIMITS)
    assert "more than 100,000 characters" in await refusal(parser, "text/plain", b"word " * 25_000)
    lines = page_stream("Many words that are drawn again and again.")
    assert "more than 100,000 characters" in await refusal(
        parser, "application/pdf", pdf_of_stream(bomb(lines, 3000), b"/Filter/FlateDecode")
    )


async def test_a_crash_is_the_document_s_fault_alone(make: Make, started: list[WorkerProcess]) -> None:
    parser = make(LIMITS)
    await parser.parse("a.md", "text/markdown", b"warm")
    running = asyncio.create_task(parser.parse("a.md", "text/markdown", SLOW))
    await until_busy(started[0])
    os.kill(started[0].pid, signal.SIGSEGV)
    with pytest.raises(UnreadableDocument, match="makes the parser crash"):
        await running
    assert (await parser.parse("b.md", "text/markdown", b"Fine.")).text == "Fine."


async def test_a_worker_killed_between_documents_is_replaced(make: Make, started: list[WorkerProcess]) -> None:
    parser = make(LIMITS)
    await parser.parse("a.txt", "text/plain", b"One.")
    os.kill(started[0].pid, signal.SIGKILL)
    os.waitid(os.P_PID, started[0].pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it dies at once
    assert (await parser.parse("a.txt", "text/plain", b"Two.")).text == "Two."


async def test_cancelling_kills_the_work_at_once(make: Make, started: list[WorkerProcess]) -> None:
    parser = make(LIMITS)
    await parser.parse("a.md", "text/markdown", b"warm")
    running = asyncio.create_task(parser.parse("a.md", "text/markdown", SLOW))
    await until_busy(started[0])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await asyncio.wait_for(parser.parse("a.txt", "text/plain", b"Fine."), 60)).text == "Fine."
    assert not started[0].alive


async def test_closing_ends_what_runs(make: Make, started: list[WorkerProcess]) -> None:
    parser = make(LIMITS)
    await parser.parse("a.md", "text/markdown", b"warm")
    running = asyncio.create_task(parser.parse("a.md", "text/markdown", SLOW))
    await until_busy(started[0])
    await parser.close()
    with pytest.raises(Unavailable):
        await running


async def test_one_worker_reads_many_documents(make: Make, started: list[WorkerProcess]) -> None:
    """Even when ragstone itself is large: a child's peak memory begins with its parent's."""
    ballast = b"x" * (LIMITS.memory // 2)
    parser = make(LIMITS)
    for number in range(12):
        await parser.parse("a.txt", "text/plain", f"Number {number}.".encode())
        if number % 3 == 0:
            await refusal(parser, "text/markdown", b"\xff")
    assert len(started) == 1
    assert ballast


@pytest.mark.skipif(sys.platform != "linux", reason="memory is looked at where it is limited")
async def test_a_worker_that_has_grown_is_replaced(make: Make, started: list[WorkerProcess]) -> None:
    parser = make(ParserLimits(memory=50 * 2**20))
    for _ in range(2):
        assert (await parser.parse("a.md", "text/markdown", b"# Fine")).text == "Fine"
    assert len(started) == 2


async def test_a_parser_that_does_not_start_is_no_document_s_fault(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("ragstone.adapters.parsing.process._import_paths", list)
    with pytest.raises(Unavailable, match="plain parser does not start"):
        await make(LIMITS).parse("a.txt", "text/plain", b"x")


async def test_the_worker_gets_no_secrets_and_no_files(make: Make, started: list[WorkerProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_SECRET", "hush")
    inherited = os.open(__file__, os.O_RDONLY)
    os.set_inheritable(inherited, True)
    await make(LIMITS).parse("a.txt", "text/plain", b"x")
    os.close(inherited)
    pid = started[0].pid
    assert os.getsid(pid) == pid
    if sys.platform == "linux":
        environment, opened = seen_in_proc(pid)
        assert b"hush" not in environment
        assert all(name == os.devnull or name.startswith("pipe:") for name in opened), opened


ABANDONED = """
import asyncio, sys
from ragstone.adapters.parsing import process
from ragstone.adapters.parsing.sandbox import SubprocessParser

begin = process.WorkerProcess.__init__

def told(self, memory, cpu):
    begin(self, memory, cpu)
    print(self.pid, flush=True)

process.WorkerProcess.__init__ = told
asyncio.run(SubprocessParser().parse("a.md", "text/markdown", b"<!--" * 1_000_000))
"""


def test_no_worker_outlives_ragstone() -> None:
    """Not even one that is busy when ragstone is killed."""
    paths = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen([sys.executable, "-c", ABANDONED], stdout=subprocess.PIPE, env={"PYTHONPATH": paths}) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        while not busy(worker):
            time.sleep(0.001)
        parent.kill()
    assert ended_within(worker, 20)


def ended_within(pid: int, seconds: float) -> bool:
    """Whether the process, which is not our child, is gone in time. One that is dead and not yet reaped counts as gone."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
        if not status or status.startswith("Z"):
            return True
        time.sleep(0.1)
    return False


def seen_in_proc(pid: int) -> tuple[bytes, set[str]]:
    """The process's environment and the names of what it has open."""
    process = Path("/proc") / str(pid)
    return (process / "environ").read_bytes(), {os.readlink(link) for link in (process / "fd").iterdir()}


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux can look at another process's limits")
async def test_while_it_reads_it_can_open_and_write_nothing(make: Make, started: list[WorkerProcess]) -> None:
    parser = make(LIMITS)
    await parser.parse("a.md", "text/markdown", b"warm")
    running = asyncio.create_task(parser.parse("a.md", "text/markdown", SLOW))
    await until_busy(started[0])
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        assert resource.prlimit(started[0].pid, limit)[0] == 0
    assert resource.prlimit(started[0].pid, resource.RLIMIT_AS) == (LIMITS.memory, LIMITS.memory)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def until_busy(worker: WorkerProcess) -> None:
    """Until the worker reads a document."""
    while not busy(worker.pid):  # noqa: ASYNC110 - another process sets no event
        await asyncio.sleep(0.001)


def busy(pid: int) -> bool:
    """Whether a worker has sealed itself for a document; nothing but its limits tells, and only on Linux."""
    return not hasattr(resource, "prlimit") or resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == 0


def test_a_worker_that_dies_says_by_which_signal() -> None:
    worker = WorkerProcess(LIMITS.memory, 1)
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(WorkerDied) as caught:
        worker.exchange({"parser": "plain"}, b"", 1000)
    assert caught.value.signal == signal.SIGSEGV


def test_a_document_gets_half_of_a_small_containers_memory() -> None:
    assert ParserLimits.within(2**36) == ParserLimits()
    assert ParserLimits.within(2**30).memory == 2**29
