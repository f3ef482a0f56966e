"""A Qdrant server for tests: the `qdrant` on PATH, on free ports of loopback, or the one at RAGSTONE_TEST_QDRANT_URL (its gRPC port is the next one)."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.qdrant_server import QdrantServerIndex
from ragstone.adapters.qdrant_server_connection import QdrantServer
from ragstone.adapters.qdrant_server_errors import translate
from tests.servers.reporting import skip_missing, used

_PATIENCE = 90.0  # seconds


@contextmanager
def serving(
    directory: Path, ports: tuple[int, int] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server's URL and its process, ended at the end. `ports`: HTTP and gRPC, of which the second is the first and one."""
    program = shutil.which("qdrant")
    if program is None:
        skip_missing("Qdrant", "no server at RAGSTONE_TEST_QDRANT_URL and no `qdrant` on PATH")
    http, grpc = ports or free_ports()
    given = {
        "SERVICE__HOST": "127.0.0.1",
        "SERVICE__HTTP_PORT": str(http),
        "SERVICE__GRPC_PORT": str(grpc),
        "STORAGE__STORAGE_PATH": str(directory / "storage"),
        "STORAGE__SNAPSHOTS_PATH": str(directory / "snapshots"),
        "TELEMETRY_DISABLED": "true",
    }
    settings = {**os.environ, **{f"QDRANT__{name}": value for name, value in {**given, **(environment or {})}.items()}}
    with (directory / "qdrant.log").open("ab") as log:
        process = subprocess.Popen([program], cwd=directory, env=settings, stdout=log, stderr=log)
    try:
        _answers(http, process)
        yield f"http://127.0.0.1:{http}", process
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def free_ports() -> tuple[int, int]:
    """Two that follow one another and that nobody listens on just now."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port, port + 1


@pytest.fixture(scope="session")
def qdrant_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Shared; a test isolates itself by a prefix of its own."""
    if url := os.environ.get("RAGSTONE_TEST_QDRANT_URL"):
        used("Qdrant", version(url), "RAGSTONE_TEST_QDRANT_URL")
        yield url
        return
    with serving(tmp_path_factory.mktemp("qdrant")) as (url, _):
        used("Qdrant", version(url), str(shutil.which("qdrant")))
        yield url


def version(url: str) -> str:
    """What the server says."""
    with urllib.request.urlopen(url, timeout=30.0) as answer:
        return str(json.load(answer)["version"])


def server(url: str, **settings: Any) -> QdrantServer:
    """The server at `url`, with collections that no other test has."""
    return QdrantServer(**{"url": url, "grpc_port": (urlsplit(url).port or 6333) + 1, "prefix": f"test-{uuid4().hex[:12]}-", **settings})


def index(server: QdrantServer) -> QdrantServerIndex:
    """The adapter, as the platform makes it."""
    return QdrantServerIndex(server, Dependency("index", timeout=server.timeout, concurrency=32, translate=translate))


async def dropped(index: QdrantServerIndex) -> None:
    """Drops all of its indexes and closes it."""
    for name in await index.names():
        await index.drop(name)
    await index.aclose()


def _answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1.0) as answer:
                if answer.status == 200:
                    socket.create_connection(("127.0.0.1", port + 1), 1.0).close()
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the Qdrant server did not start; see its qdrant.log")
