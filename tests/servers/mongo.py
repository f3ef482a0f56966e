"""A MongoDB server for tests, a replica set of one: the one at RAGSTONE_TEST_MONGO_URL, else `mongod` on PATH, else secantusdb beside this Python."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.mongo import MongoDatabase
from ragstone.adapters.mongo_errors import translated
from tests.servers.reporting import skip_missing, used

_PATIENCE = 90.0  # seconds
_SET = "rs0"
_SETTINGS = {"transactionLifetimeLimitSeconds": 10, "diagnosticDataCollectionEnabled": "false"}


@contextmanager
def serving(
    directory: Path, port: int | None = None, *, alone: bool = False, durable: bool = False
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server's URL and its process, ended at the end; what it keeps is in `directory`. `alone`: not a replica set.

    `durable`: what it acknowledged survives that it is killed, which secantusdb promises only when asked.
    """
    port = port or free_port()
    command = _command(directory / "data", port, alone, durable)
    if command is None:
        skip_missing("MongoDB", "no server at RAGSTONE_TEST_MONGO_URL, no `mongod` on PATH and no secantusdb")
    (directory / "data").mkdir(exist_ok=True)
    with (directory / "mongo.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _answers(port, process, alone)
        yield f"mongodb://127.0.0.1:{port}/?directConnection=true", process
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Shared; a test isolates itself by a database of its own."""
    if url := os.environ.get("RAGSTONE_TEST_MONGO_URL"):
        used("MongoDB", version(url), "RAGSTONE_TEST_MONGO_URL")
        yield url
        return
    with serving(tmp_path_factory.mktemp("mongo")) as (url, process):
        used("MongoDB", version(url), str(process.args[0]))  # type: ignore[index]
        yield url


def version(url: str) -> str:
    """What the server says it speaks."""
    with MongoClient[dict[str, object]](url) as client:
        return str(client.server_info()["version"])


@asynccontextmanager
async def database(url: str, name: str | None = None) -> AsyncIterator[MongoDatabase]:
    """A database that no other test has, dropped at the end; one with a `name` stays."""
    chosen = name or f"test-{uuid4().hex[:12]}"
    mongo = MongoDatabase(lambda: url, chosen)
    try:
        yield mongo
    finally:
        await close(mongo)
        if name is None:
            await asyncio.to_thread(drop, url, chosen)  # the loop may serve a proxy on the way


async def close(mongo: MongoDatabase, *, interrupted: bool = False) -> None:
    """Closes it. pymongo 4.20 cancels its monitors, and one that is just connecting leaves its socket to the garbage collector, whose warning
    would fail whatever test runs by then; so it is collected here. `interrupted`: the connection was, so that a monitor may have begun long ago.
    """
    await mongo.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect(2 if interrupted else 1)


def drop(url: str, name: str) -> None:
    """Takes a database away."""
    with MongoClient[dict[str, object]](url) as client:
        client.drop_database(name)


def dependency(name: str = "catalog", *, timeout: float = 30.0) -> Dependency:
    """As the platform makes it, with more patience."""
    return Dependency(name, timeout=timeout, concurrency=64, translate=translated)


def _command(data: Path, port: int, alone: bool, durable: bool) -> list[str] | None:
    if mongod := shutil.which("mongod"):
        settings = [part for name, value in _SETTINGS.items() for part in ("--setParameter", f"{name}={value}")]
        storage = ["--dbpath", str(data), "--wiredTigerCacheSizeGB", "0.25"]
        return [mongod, "--bind_ip", "127.0.0.1", "--port", str(port), *storage, *settings, *([] if alone else ["--replSet", _SET])]
    secantus = Path(sys.executable).with_name("secantusd-py")
    if not secantus.exists():
        return None
    options = [*(["--standalone"] if alone else []), *(["--sync-on-commit"] if durable else [])]
    return [str(secantus), "--host", "127.0.0.1", "--port", str(port), "--storage-path", str(data), *options]


def _answers(port: int, process: subprocess.Popen[bytes], alone: bool) -> None:
    """Waits until writes are taken; initiates the set of a new server."""
    deadline = time.monotonic() + _PATIENCE
    with MongoClient[dict[str, object]](f"mongodb://127.0.0.1:{port}/?directConnection=true", serverSelectionTimeoutMS=500) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                hello = client.admin.command("hello")
                if hello["isWritablePrimary"]:
                    return
                if not alone and "setName" not in hello:
                    client.admin.command("replSetInitiate", {"_id": _SET, "members": [{"_id": 0, "host": f"127.0.0.1:{port}"}]})
            except OperationFailure as error:
                if error.code != 23:  # AlreadyInitialized, of a server that is not up yet
                    raise
            except PyMongoError:
                pass  # not up yet
            time.sleep(0.05)
    raise RuntimeError("the MongoDB server did not start; see its mongo.log")
