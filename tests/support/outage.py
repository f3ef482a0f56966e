"""`ragstone up` over real servers, under load, while one server after the other is stopped and comes back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx

from tests.servers import lakefs, mlflow, mongo, nats, qdrant
from tests.support.processes import Running, start
from tests.support.tiny_encoder import make_encoder

How = Literal["killed", "hanging"]
READERS, WRITE_EVERY = 8, 0.5  # clients, seconds
BACK = 120.0  # seconds after which a recovery is called off
_DOCS = "/v1/collections/docs"
_QUESTION = {"collection": "docs", "question": "Which colour has the pump?", "abstain": False}


class Server:
    """One server, killed or frozen and back over the same directory and port. `serve` gives its settings for ragstone and its process."""

    def __init__(self, name: str, serve: Callable[[], AbstractContextManager[tuple[dict[str, str], subprocess.Popen[bytes]]]]) -> None:
        self.name = name
        self._serve = serve
        self._running = ExitStack()
        self.settings: dict[str, str] = {}

    def start(self) -> None:
        """Returns once it answers."""
        self.settings, self._process = self._running.enter_context(self._serve())

    def stop(self, how: How) -> None:
        """From now on connections are refused, or nothing is answered."""
        self._signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        if how == "killed":
            self._process.wait()

    def back(self, how: How) -> None:
        """Returns once it answers again."""
        if how == "hanging":
            self._signal(signal.SIGCONT)
            return
        self._running.close()
        self.start()

    def close(self) -> None:
        """For good."""
        self._running.close()

    def _signal(self, number: signal.Signals) -> None:
        group = os.getpgid(self._process.pid)
        if group == self._process.pid:  # its workers are processes of their own
            os.killpg(group, number)
        else:
            self._process.send_signal(number)


@dataclass
class Tally:
    """What clients got while a server was stopped and afterwards. `wrong`: neither 2xx, 429 nor 503 with Retry-After, in words."""

    statuses: Counter[int] = field(default_factory=Counter)
    degraded: int = 0
    wrong: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)  # path by job
    lost: list[str] = field(default_factory=list)  # paths that were accepted and are not there
    slowest: float = 0.0  # seconds
    recovered: float | None = None  # seconds after the server was back; None: it did not

    def note(self, answer: httpx.Response, seconds: float) -> None:
        """One response."""
        status = answer.status_code
        self.statuses[status] += 1
        self.slowest = max(self.slowest, seconds)
        if 200 <= status < 300:
            self.degraded += bool(answer.json().get("degraded"))
        elif status not in (429, 503) or not answer.headers.get("retry-after", "").isdecimal():
            self.wrong.append(f"{answer.request.method} {answer.request.url.path}: {status} {answer.text[:200]}")


class Bench:
    """The process and its servers."""

    def __init__(self, process: Running, http: httpx.AsyncClient, servers: dict[str, Server]) -> None:
        self.process = process
        self.servers = servers
        self._http = http
        self._written = 0

    async def outage(self, name: str, how: How, seconds: float, around: float = 1.0) -> Tally:
        """Under load: all is well for `around` seconds, the server is away for `seconds`, and comes back."""
        tally, server, over = Tally(), self.servers[name], asyncio.Event()
        clients = [asyncio.create_task(self._read(tally, over)) for _ in range(READERS)]
        clients.append(asyncio.create_task(self._write(tally, over)))
        try:
            await asyncio.sleep(around)
            await asyncio.to_thread(server.stop, how)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(server.back, how)
            tally.recovered = await self._recovery()
            await asyncio.sleep(around)
        finally:
            over.set()
            await asyncio.gather(*clients)
        await self._look_for(tally)
        return tally

    async def _recovery(self) -> float | None:
        """Seconds until a question is answered whole and a document written is published."""
        began = time.monotonic()
        while time.monotonic() - began < BACK and self.process.alive:
            self._written += 1
            asked = await self._http.post("/query", json=_QUESTION)
            put = await self._http.put("/v1/collections/other/documents/back.txt?timeout=60", content=self._text())
            ready = await self._http.get("/readyz")
            if (asked.status_code, put.status_code, ready.status_code) == (200, 200, 200):
                told = asked.json()
                if told["logged"] == "stored" and not told["degraded"] and not ready.json()["degraded"]:
                    return time.monotonic() - began
            await asyncio.sleep(0.1)
        return None

    async def _read(self, tally: Tally, over: asyncio.Event) -> None:
        while not over.is_set():
            await self._noted(tally, "POST", "/query", json=_QUESTION)
            await asyncio.sleep(0.05)

    async def _write(self, tally: Tally, over: asyncio.Event) -> None:
        while not over.is_set():
            self._written += 1
            path = f"note-{self._written}.txt"
            answer = await self._noted(tally, "PUT", f"{_DOCS}/documents/{path}?wait=false", content=self._text())
            if answer is not None and answer.status_code == 202:
                tally.accepted[answer.json()["job"]["id"]] = path
            await asyncio.sleep(WRITE_EVERY)

    async def _noted(self, tally: Tally, method: str, path: str, **body: Any) -> httpx.Response | None:
        began = time.monotonic()
        try:
            answer = await self._http.request(method, path, **body)
        except httpx.TransportError as error:
            tally.wrong.append(f"{method} {path}: {type(error).__name__}")
            return None
        tally.note(answer, time.monotonic() - began)
        return answer

    async def _look_for(self, tally: Tally) -> None:
        """Every accepted write ends, published, its document there."""
        deadline = time.monotonic() + BACK
        for job, path in tally.accepted.items():
            state = "unknown"
            while time.monotonic() < deadline:
                answer = await self._http.get(f"/v1/jobs/{job}")
                state = answer.json()["job"]["state"] if answer.status_code == 200 else "unknown"
                if state not in ("queued", "running", "unknown"):
                    break
                await asyncio.sleep(0.2)
            there = await self._http.get(f"{_DOCS}/documents/{path}")
            if state != "published" or there.status_code != 200:
                tally.lost.append(f"{path} ({state})")

    def _text(self) -> str:
        return f"The pump of boat {self._written} is red. Its valve is green."


@asynccontextmanager
async def bench(home: Path, *names: str) -> AsyncIterator[Bench]:
    """The process over MongoDB and NATS, and over those of lakefs, qdrant, mlflow, generation that are named; embedded stores otherwise."""
    servers = {name: Server(name, _SERVERS[name](home)) for name in ("mongo", "nats", *names)}
    with ExitStack() as running:
        for server in servers.values():
            running.callback(server.close)
            await asyncio.to_thread(server.start)
        settings = {"DATA_DIR": str(home / "data"), "PORT": "0", "MODEL": str(make_encoder(home / "model"))}
        for server in servers.values():
            settings |= server.settings
        process = await start(home / "up.log", "up", settings)
        try:
            async with httpx.AsyncClient(base_url=process.url, timeout=120, limits=httpx.Limits(max_connections=100)) as http:
                text = "The pump is red. It stands in the cellar."
                body = {"create": True, "documents": [{"path": "a.txt", "text": text}]}
                for name in ("docs", "other"):  # jobs of one go one after another: recovery is looked for in the other
                    (await http.post("/ingest", json=body | {"collection": name})).raise_for_status()
                yield Bench(process, http, servers)
        finally:
            await process.stop()


_Serving = Callable[[Path], Callable[[], AbstractContextManager[tuple[dict[str, str], subprocess.Popen[bytes]]]]]


def _mongo(home: Path) -> Any:
    port, directory = mongo.free_port(), _made(home / "mongo")

    @contextmanager
    def serve() -> Any:
        with mongo.serving(directory, port, durable=True) as (url, process):
            yield {"CATALOG__KIND": "mongo", "CATALOG__URI": url, "CATALOG__TIMEOUT": "5"}, process

    return serve


def _nats(home: Path) -> Any:
    port, directory = nats.free_port(), _made(home / "nats")

    @contextmanager
    def serve() -> Any:
        with nats.serving(directory, port=port) as (url, process):
            yield {"QUEUE__KIND": "nats", "QUEUE__URL": url}, process

    return serve


def _lakefs(home: Path) -> Any:
    port, directory = nats.free_port(), _made(home / "lakefs")

    @contextmanager
    def serve() -> Any:
        with lakefs.serving(directory, port=port) as server:
            settings = {
                "VERSIONS__KIND": "lakefs",
                "VERSIONS__ENDPOINT": server.url,
                "VERSIONS__ACCESS_KEY_ID": server.key,
                "VERSIONS__SECRET_ACCESS_KEY": server.secret,
                "VERSIONS__STORAGE_NAMESPACE": server.namespace,
                "VERSIONS__TIMEOUT": "10",
            }
            yield settings, server.process

    return serve


def _qdrant(home: Path) -> Any:
    ports, directory = qdrant.free_ports(), _made(home / "qdrant")

    @contextmanager
    def serve() -> Any:
        with qdrant.serving(directory, ports) as (url, process):
            yield {"INDEX__KIND": "qdrant", "INDEX__URL": url, "INDEX__GRPC_PORT": str(ports[1]), "INDEX__TIMEOUT": "10"}, process

    return serve


def _mlflow(home: Path) -> Any:
    port, directory = nats.free_port(), _made(home / "mlflow")

    @contextmanager
    def serve() -> Any:
        with mlflow.serving(directory, port) as (url, process):
            yield {"TRACKING__KIND": "mlflow", "TRACKING__URI": url}, process

    return serve


def _generation(home: Path) -> Any:
    port = nats.free_port()

    @contextmanager
    def serve() -> Any:
        process = subprocess.Popen([sys.executable, "-m", "tests.support.chat_server", str(port)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())
            settings = {"GENERATOR__KIND": "openai", "GENERATOR__BASE_URL": url, "GENERATOR__MODEL": "quote"}
            yield settings | {"GENERATOR__FIRST_TOKEN_TIMEOUT": "5"}, process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]

    return serve


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


_SERVERS: dict[str, _Serving] = {
    "mongo": _mongo,
    "nats": _nats,
    "lakefs": _lakefs,
    "qdrant": _qdrant,
    "mlflow": _mlflow,
    "generation": _generation,
}
