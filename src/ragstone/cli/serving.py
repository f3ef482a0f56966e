"""What `ragstone up` does: one process and event loop, one socket for the API and one for management, stopped by a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from ragstone import __version__
from ragstone.bootstrap.access import authenticator, hook_secret
from ragstone.bootstrap.platform import open_directory
from ragstone.cli.logged import LoggedOutput, told_ready
from ragstone.cli.progress import duration
from ragstone.cli.session import Session
from ragstone.cli.words import commit_name
from ragstone.domain.errors import InvalidInput
from ragstone.ports.authenticator import Authenticator
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.services.orchestrator.app import create_app
from ragstone.services.orchestrator.management import create_management_app
from ragstone.services.orchestrator.memory import settle
from ragstone.services.orchestrator.views import collection_json
from ragstone.settings.model import Settings
from ragstone.use_cases.platform import Platform

_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not listened on, but answered for
GRACE = 10  # seconds that running requests get after the first signal
_JOBS_GRACE = 8.0  # seconds that running jobs get, beside the requests: less, so that whoever waits for one is still answered


async def run(session: Session, settings: Settings, model: Awaitable[EmbeddingModel]) -> None:
    """Serves until a signal. Raises `InvalidInput` (address, keys), `DataDirectoryError` (owned already), and what loading the model raises."""
    keys = await asyncio.to_thread(authenticator, settings)
    stop = Stop(lambda: session.output.note("Stopping; once more to quit at once."))
    with stop.listening(), ExitStack() as sockets:
        bound = sockets.enter_context(listen(settings.host, settings.port))
        managing = None
        if settings.management_port is not None:
            managing = sockets.enter_context(listen(settings.host, settings.management_port, "management_port"))
        try:
            await _serve(session, settings.model_copy(update={"port": bound.getsockname()[1]}), model, keys, stop, bound, managing)
        except asyncio.CancelledError:
            if not stop.asked:
                raise
        finally:
            if keys is not None:
                await keys.close()
    session.output.note("Stopped.")


class Server(uvicorn.Server):
    """`on_ready` is called once requests are answered. `grace`: seconds that running requests get at the end. Signals are `Stop`'s."""

    def __init__(self, app: Any, on_ready: Callable[[], None], grace: int = GRACE) -> None:
        super().__init__(uvicorn.Config(app, workers=1, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=grace))
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, then tells that it is ready."""
        await super().startup(sockets)
        self._on_ready()

    def stop(self) -> None:
        """Takes no new connection and ends when the requests that run are answered, or after the grace."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone."""
        yield


class Stop:
    """The first SIGINT or SIGTERM calls `stop_server` (or ends the start before there is one), the second ends the process."""

    def __init__(self, on_first: Callable[[], None]) -> None:
        self.stop_server: Callable[[], None] | None = None
        self.asked = False
        self._on_first = on_first
        self._task = asyncio.current_task()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals are handled within."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signal, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _signal(self, number: int) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = True
        self._on_first()
        if self.stop_server is not None:
            self.stop_server()
        elif self._task is not None:
            self._task.cancel()


def listen(host: str, port: int, setting: str = "port") -> socket.socket:
    """A bound socket. Raises `InvalidInput` when there is no such address here, or the port is taken or not allowed."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InvalidInput(f"host: {host[:200]!r} is no address; use 127.0.0.1, or 0.0.0.0 for every IPv4 address.", field="host") from None
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        reason = (error.strerror or str(error)).lower()
        raise InvalidInput(
            f"{setting}: {host}:{port} can't be listened on ({reason}); choose another port, or 0 for any free one.", field=setting
        ) from None
    return bound


def url_of(bound: socket.socket) -> str:
    """`http://127.0.0.1:8642`: where this machine reaches the socket."""
    host, port = bound.getsockname()[:2]
    host = _HERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _serve(
    session: Session,
    settings: Settings,
    model: Awaitable[EmbeddingModel],
    keys: Authenticator | None,
    stop: Stop,
    bound: socket.socket,
    managing: socket.socket | None,
) -> None:
    began, url = time.monotonic(), url_of(bound)
    hook = await asyncio.to_thread(hook_secret, settings)
    async with open_directory(settings, embedder=await model) as (platform, announce):
        app = create_app(platform, settings, keys, hook)
        loaded = await _loaded(platform, settings, url, url_of(managing) if managing else None)

        def ready() -> None:
            announce(url)
            _say(session, loaded, time.monotonic() - began)

        server = Server(app, ready)
        draining: list[asyncio.Task[None]] = []

        def end() -> None:
            app.state.readiness.stopping = True
            server.stop()
            draining.append(asyncio.create_task(platform.drain(_JOBS_GRACE)))

        stop.stop_server = end
        settle()
        async with managed(app, managing):
            await server.serve([bound])
            await asyncio.gather(*draining)


@asynccontextmanager
async def managed(app: Any, bound: socket.socket | None) -> AsyncIterator[None]:
    """The management port of an application answers within, so also while the last requests are being answered."""
    if bound is None:
        yield
        return
    answers = asyncio.Event()
    server = Server(create_management_app(app), answers.set)
    serving = asyncio.create_task(server.serve([bound]))
    try:
        await answers.wait()
        yield
    finally:
        server.stop()
        await serving


async def _loaded(platform: Platform, settings: Settings, url: str, management: str | None) -> dict[str, Any]:
    catalog = platform.adapters.catalog
    collections = [collection_json(one, await catalog.head(one.name)) for one in await catalog.collections()]
    model, generator = platform.embedder.identity, platform.query.generator
    kept = ("name", "documents", "chunks", "head")
    return {
        "version": __version__,
        "url": url,
        "docs": f"{url}/docs",
        "management": management,
        "data_directory": str(settings.data_dir.resolve()),
        "model": {"name": model.name, "dimension": model.dimension, "digest": model.digest},
        "generator": {"kind": generator.kind, "name": generator.name},
        "collections": [{name: one[name] for name in kept} for one in collections],
    }


def _say(session: Session, loaded: dict[str, Any], seconds: float) -> None:
    if isinstance(session.output, LoggedOutput):
        told_ready({**loaded, "collections": len(loaded["collections"]), "seconds": round(seconds, 2)})
    if session.output.json_mode:
        session.output.line(loaded)
    if session.output.json_mode or isinstance(session.output, LoggedOutput):
        return
    model, generator = loaded["model"], loaded["generator"]
    lines = [
        f"ragstone {loaded['version']}",
        f"  data         {loaded['data_directory']}",
        f"  model        {model['name']}, {model['dimension']} dimensions, SHA-256 {model['digest'][:12]}",
        f"  generator    {generator['kind']}" + (f", {generator['name']}" if generator["name"] != generator["kind"] else ""),
    ]
    for one in loaded["collections"]:
        head = commit_name(one["head"]["position"], one["head"]["id"]) if one["head"] else "empty"
        lines.append(f"  collection   {one['name']}: {one['documents']:,} documents, {one['chunks']:,} chunks, head {head}")
    if not loaded["collections"]:
        lines.append("  collections  none yet; `ragstone ingest PATH -c NAME` makes one")
    lines += [f"  API          {loaded['url']}", f"  API docs     {loaded['docs']}"]
    if loaded["management"]:
        lines.append(f"  management   {loaded['management']}/readyz, /metrics")
    lines += [f"Ready in {duration(seconds)}. Ctrl-C stops it."]
    session.output.note("\n".join(lines))
