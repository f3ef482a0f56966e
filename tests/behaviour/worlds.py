"""The platforms that the behaviour tests run against, built by `bootstrap` from settings as any other.

`embedded`: one process over Git, SQLite, Qdrant Edge. `mixed`: one process over MongoDB and NATS, with Git and Edge. `networked`: a process that serves the API
and two workers, each in a process of its own, over MongoDB, lakeFS, Qdrant and NATS.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from ragstone.bootstrap.platform import open_platform
from ragstone.settings.load import load_settings
from ragstone.use_cases.platform import Platform
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.servers.lakefs import LakeFs, fresh_prefix

DIMENSION = 32
_STARTS, _STOPS = 120.0, 30.0  # seconds that a worker may take
Chosen = dict[str, Any]  # settings


def mixed(mongo_url: str, nats_url: str) -> Chosen:
    """Stores that only this run uses, in servers."""
    own = uuid4().hex[:10]
    return {
        "catalog": {"kind": "mongo", "uri": mongo_url, "database": f"test-{own}"},
        "queue": {"kind": "nats", "url": nats_url, "stream_prefix": f"test-{own}-"},
    }


def networked(mongo_url: str, nats_url: str, lakefs: LakeFs, qdrant_url: str) -> Chosen:
    """As `mixed`, and nothing is left in the process."""
    return {
        **mixed(mongo_url, nats_url),
        "versions": {
            "kind": "lakefs",
            "endpoint": lakefs.url,
            "access_key_id": lakefs.key,
            "secret_access_key": lakefs.secret,
            "storage_namespace": f"{lakefs.namespace}/{uuid4().hex[:10]}",
            "repository_prefix": fresh_prefix(),
        },
        "index": {"kind": "qdrant", "url": qdrant_url, "grpc_port": (urlsplit(qdrant_url).port or 6333) + 1, "prefix": fresh_prefix()},
    }


@asynccontextmanager
async def alone(directory: Path, chosen: Mapping[str, Any]) -> AsyncIterator[Platform]:
    """One process that does everything."""
    async with opened({**chosen, "data_dir": str(directory / "data")}) as platform:
        yield platform


@asynccontextmanager
async def with_workers(directory: Path, chosen: Mapping[str, Any], count: int = 2) -> AsyncIterator[Platform]:
    """One process that serves the API, which is this one, and workers."""
    workers: list[asyncio.subprocess.Process] = []
    try:
        for number in range(count):
            started = await _worker({**chosen, "role": "worker", "data_dir": str(directory / f"worker-{number}")})
            workers.append(started)  # one by one: those that run are ended, whatever becomes of the next
        async with asyncio.timeout(_STARTS):
            for worker in workers:
                if worker.stdout is None or await worker.stdout.readline() != b"ready\n":
                    raise RuntimeError("a worker did not start; its trace is on stderr")
        async with opened({**chosen, "role": "api", "data_dir": str(directory / "api")}) as platform:
            yield platform
    finally:
        for worker in workers:
            await _ended(worker)


@asynccontextmanager
async def opened(chosen: Mapping[str, Any]) -> AsyncIterator[Platform]:
    """A platform of these settings, with an embedding model that needs no files."""
    async with open_platform(load_settings(**chosen), embedder=HashingEmbeddingModel(DIMENSION)) as platform:
        yield platform


async def _worker(chosen: Mapping[str, Any]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    worker = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.behaviour.worker", stdin=pipe, stdout=pipe)
    if worker.stdin is None:
        raise AssertionError("it was asked for")
    worker.stdin.write(json.dumps(chosen).encode() + b"\n")
    await worker.stdin.drain()
    return worker


async def _ended(worker: asyncio.subprocess.Process) -> None:
    """It ends when nobody writes to it any more."""
    if worker.stdin is not None:
        worker.stdin.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(_STOPS):
            await worker.wait()
            return
    worker.kill()
    await worker.wait()
