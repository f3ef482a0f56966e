"""Processes of ragstone that are killed and started again, over stores that outlive them, and an API that is asked until it answers."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from bench import counted
from tests.servers import lakefs, mongo, nats, qdrant
from tests.support.processes import Running, StartFailed, start

_PATIENCE = 900.0  # seconds until a request is answered, or a job has ended


@dataclass(frozen=True)
class Stores:
    """The settings of each process by its name; `api` serves the API, those of `victims` are killed. `queue`: the broker's URL."""

    settings: Mapping[str, Mapping[str, str]]
    victims: tuple[str, ...]
    queue: str
    prefix: str = "ragstone-"


@contextmanager
def one_process(home: Path) -> Iterator[Stores]:
    """API and worker in one process with embedded stores, over NATS."""
    home.mkdir()
    (home / "nats").mkdir()
    with nats.serving(home / "nats") as (url, _):
        queue = {"QUEUE__KIND": "nats", "QUEUE__URL": url, "QUEUE__MAX_DELIVER": "1000", "QUEUE__ACK_WAIT": "2"}
        yield Stores({"api": {"DATA_DIR": str(home / "data"), "PORT": "0", **queue}}, ("api",), url)


def missing() -> str | None:
    """Why the processes of a cluster can't be started here."""
    found = [name for name in ("lakefs", "qdrant") if shutil.which(name) is None]
    return f"missing server: no `{'`, no `'.join(found)}` on PATH" if found else None


@contextmanager
def cluster(home: Path, workers: int) -> Iterator[Stores]:
    """One API process and some workers over MongoDB's protocol, lakeFS, Qdrant and NATS, each a server of its own."""
    home.mkdir()
    with ExitStack() as running:
        folders = {name: home / name for name in ("nats", "mongo", "lakefs", "qdrant")}
        for folder in folders.values():
            folder.mkdir()
        queue, _ = running.enter_context(nats.serving(folders["nats"]))
        catalog, _ = running.enter_context(mongo.serving(folders["mongo"], durable=True))
        versions = running.enter_context(lakefs.serving(folders["lakefs"]))
        index, _ = running.enter_context(qdrant.serving(folders["qdrant"]))
        shared = {
            "CATALOG__KIND": "mongo",
            "CATALOG__URI": catalog,
            "VERSIONS__KIND": "lakefs",
            "VERSIONS__ENDPOINT": versions.url,
            "VERSIONS__ACCESS_KEY_ID": versions.key,
            "VERSIONS__SECRET_ACCESS_KEY": versions.secret,
            "VERSIONS__STORAGE_NAMESPACE": versions.namespace,
            "INDEX__KIND": "qdrant",
            "INDEX__URL": index,
            "INDEX__GRPC_PORT": str((urlsplit(index).port or 0) + 1),
            "QUEUE__KIND": "nats",
            "QUEUE__URL": queue,
            "QUEUE__MAX_DELIVER": "1000",
            "QUEUE__ACK_WAIT": "5",
        }
        names = tuple(f"worker-{number}" for number in range(workers))
        settings = {name: {**shared, "ROLE": "worker", "DATA_DIR": str(home / name)} for name in names}
        settings["api"] = {**shared, "ROLE": "api", "DATA_DIR": str(home / "api"), "PORT": "0"}
        yield Stores(settings, names, queue)


@dataclass
class Fleet:
    """The processes over some stores. `kills`: how often one was killed. `notes`: what their embedders are given (bench/counted.py)."""

    stores: Stores
    log: Path
    notes: Path
    running: dict[str, Running] = field(default_factory=dict)
    kills: int = 0
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def up(self, name: str) -> Running:
        """The process, started unless it runs."""
        async with self._turns.setdefault(name, asyncio.Lock()):
            found = self.running.get(name)
            if found is None or not found.alive:
                settings = self.stores.settings[name]
                command = "worker" if settings.get("ROLE") == "worker" else "up"
                found = self.running[name] = await start(self.log, command, settings, module=("bench.counted", str(self.notes)))
            return found

    def embedding(self) -> str | None:
        """Which process was the last to embed, if it still runs."""
        last = [process for process, _ in counted.noted(self.notes)[-1:]]
        return next((name for name, one in self.running.items() if one.alive and one.process.pid in last), None)

    async def kill(self, name: str) -> None:
        """SIGKILL, then another one in its place."""
        await (await self.up(name)).stop(signal.SIGKILL)
        self.kills += 1
        await self.up(name)

    async def stop(self) -> None:
        """All of them, gracefully."""
        for process in self.running.values():
            await process.stop()

    async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The answer's body; asked again while nobody answers."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                api = await self.up("api")
                async with httpx.AsyncClient(base_url=api.url, timeout=60, trust_env=False) as http:
                    answer = await http.request(method, path, **options)
            except (httpx.TransportError, StartFailed):
                await asyncio.sleep(0.1)
                continue
            if answer.status_code in (429, 503):
                await asyncio.sleep(0.2)
                continue
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found
        raise TimeoutError(f"{method} {path} got no answer; see {self.log}")

    async def job(self, job: str) -> dict[str, Any]:
        """As it is now."""
        found: dict[str, Any] = (await self.request("GET", f"/v1/jobs/{job}"))["job"]
        return found

    async def ended(self, job: str) -> dict[str, Any]:
        """A job that has ended."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            found = await self.job(job)
            if found["state"] in ("published", "unchanged", "failed"):
                return found
            await asyncio.sleep(0.3)
        raise TimeoutError(f"job {job} has not ended; see {self.log}")
