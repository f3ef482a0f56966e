"""What `ragstone serve-embedding` and `ragstone serve-generation` share: a Bento in one process and event loop, stopped by a signal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any

from ragstone import __version__
from ragstone.bootstrap.access import authenticator
from ragstone.cli.logged import LoggedOutput, told_ready
from ragstone.cli.progress import duration
from ragstone.cli.serving import GRACE, Server, Stop, listen, managed, url_of
from ragstone.cli.session import Session
from ragstone.ports.authenticator import Authenticator
from ragstone.services.orchestrator.memory import settle
from ragstone.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """A service whose model is loaded. `bento`: the application inside `app`, whose lifespan is to be run. `stopping` is called at the first signal.

    What it says once it answers: `facts` for machines; for people its `title`, `lines` about the model, `routes` below its address, and the `word` for its start.
    """

    app: Any
    bento: Any
    stopping: Callable[[], None]
    facts: Mapping[str, Any]
    title: str
    lines: Sequence[str]
    routes: str
    word: str


@dataclass(frozen=True, slots=True)
class Service:
    """`name`: of its section of the settings. `load`: its model, what has to be closed pushed on the stack. `grace`: seconds that running requests get at the end."""

    name: str
    port: int
    load: Callable[[AsyncExitStack, Authenticator | None], Awaitable[Loaded]]
    farewell: str = "Stopping; once more to quit at once."
    grace: int = GRACE


async def serve(session: Session, settings: Settings, service: Service) -> None:
    """Until a signal. Raises `InvalidInput` (address, keys) and what `load` raises."""
    keys = await asyncio.to_thread(authenticator, settings)
    stop = Stop(lambda: session.output.note(service.farewell))
    began = time.monotonic()
    with stop.listening(), ExitStack() as sockets:
        bound = sockets.enter_context(listen(settings.host, service.port, f"{service.name}.port"))
        managing = None
        if settings.management_port is not None:
            managing = sockets.enter_context(listen(settings.host, settings.management_port, "management_port"))
        async with AsyncExitStack() as stack:
            if keys is not None:
                stack.push_async_callback(keys.close)
            try:
                loaded = await service.load(stack, keys)
                await stack.enter_async_context(loaded.bento.router.lifespan_context(loaded.bento))
                urls = url_of(bound), url_of(managing) if managing else None
                server = Server(loaded.app, lambda: _say(session, loaded, *urls, time.monotonic() - began), service.grace)

                def end() -> None:
                    loaded.stopping()
                    server.stop()

                stop.stop_server = end
                settle()
                async with managed(loaded.app, managing):
                    await server.serve([bound])
            except asyncio.CancelledError:
                if not stop.asked:
                    raise
    session.output.note("Stopped.")


def _say(session: Session, loaded: Loaded, url: str, management: str | None, seconds: float) -> None:
    facts = {"version": __version__, "url": url, "management": management, **loaded.facts}
    if session.output.json_mode:
        session.output.line(facts)
    if isinstance(session.output, LoggedOutput):
        told_ready({**facts, "seconds": round(seconds, 2)})
        return
    if session.output.json_mode:
        return
    lines = [f"ragstone {__version__}: {loaded.title}", *loaded.lines, f"  API          {url}{loaded.routes}"]
    if management:
        lines.append(f"  management   {management}/readyz, /metrics")
    session.output.note("\n".join([*lines, f"{loaded.word} {duration(seconds)}. Ctrl-C stops it."]))
