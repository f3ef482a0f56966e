"""What `ragstone up --profile dev` does: starts the tree of processes, says what runs and what is missing, and ends it at a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ragstone import __version__
from ragstone.cli.logged import LoggedOutput, told_ready
from ragstone.cli.progress import duration
from ragstone.cli.pull import ensure_model
from ragstone.cli.session import Session
from ragstone.domain.errors import InvalidInput
from ragstone.services.devtree.model_services import embedding, find_embedding, find_generation, generation
from ragstone.services.devtree.programs import configured, find
from ragstone.services.devtree.specs import Http, Spec
from ragstone.services.devtree.state import State, is_free
from ragstone.services.devtree.tree import Tree, Wanted, facts
from ragstone.settings.model import LlamaGenerator, Settings


async def run_profile(session: Session, settings: Settings, workers: int, mlflow: Path | None, services: Path | None = None) -> None:
    """Until a signal. Raises `InvalidInput`, `DataDirectoryError`, and `Unavailable` when a process does not stay up."""
    if settings.role != "all":
        raise InvalidInput("role: the profile gives each of its processes a role; leave it out.", field="role")
    data_dir = settings.data_dir.resolve()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    await ensure_model(settings, session.output)  # once, before several processes want it
    found = await asyncio.to_thread(find, mlflow)
    run, unmet = await asyncio.to_thread(_services, settings, services, found.programs.keys() - configured(settings))
    state = State(data_dir)
    with state.locked():
        port = settings.port or state.port("API")
        if not is_free(port):
            raise InvalidInput(f"port: somebody else listens on {port}; choose another port, or 0 for any free one.", field="port")
        flags = ("--model", session.flags.model) if session.flags.model else ()
        wanted = Wanted(data_dir, settings.host, port, workers, flags, configured(settings), tuple(run))
        tree = Tree(wanted, found, state, _primary, session.output.note)
        missing = tree.choose() + unmet
        for sentence in missing:
            session.output.note(sentence)
        if not tree.several:
            session.output.note("So one process is API and worker: others could not reach what is embedded in it.")
        began = time.monotonic()
        running = asyncio.ensure_future(tree.run(lambda: _say(session, tree, data_dir, missing, time.monotonic() - began)))
        with _signals(session, running, tree):
            try:
                await running
            except asyncio.CancelledError:
                if not running.cancelled():
                    raise
    session.output.note("Stopped.")


def _services(settings: Settings, program: Path | None, servers: Collection[str]) -> tuple[list[Callable[[State, Http], Spec]], list[str]]:
    """The services that run models, and what is missing for the others, in sentences. Blocking. Raises `InvalidInput` and `NotFound` (program, model)."""
    from ragstone.bootstrap.models import gguf_of

    embedder, generator, llama = find_embedding(settings, program), find_generation(settings, program, servers), settings.generator
    run: list[Callable[[State, Http], Spec]] = []
    if embedder.command:
        run.append(partial(embedding, embedder.command, settings.model))
    if generator.command and isinstance(llama, LlamaGenerator):
        run.append(partial(generation, generator.command, llama, gguf_of(settings, llama)))
    return run, [offer.missing for offer in (embedder, generator) if offer.missing]


def _primary(port: int) -> Callable[[], Awaitable[bool]]:
    """Imports MongoDB's client, so only where there is one."""
    from ragstone.adapters.mongo_replica_set import takes_writes

    return lambda: takes_writes(port)


@contextmanager
def _signals(session: Session, running: asyncio.Future[None], tree: Tree) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the tree in order, the second kills it."""
    loop, asked = asyncio.get_running_loop(), False

    def on(number: int) -> None:
        nonlocal asked
        if asked:
            tree.kill()
            os._exit(128 + number)
        asked = True
        session.output.note("Stopping; once more to quit at once.")
        running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _say(session: Session, tree: Tree, data_dir: Path, missing: list[str], seconds: float) -> None:
    processes = facts(tree)
    url = next(str(one["address"]) for one in processes if one["name"] == "API")
    document: dict[str, Any] = {
        "version": __version__,
        "profile": "dev",
        "url": url,
        "docs": f"{url}/docs",
        "data_directory": str(data_dir),
        "processes": processes,
        "missing": missing,
    }
    output = session.output
    if isinstance(output, LoggedOutput):
        told_ready({**document, "seconds": round(seconds, 2)})
    if output.json_mode:
        output.line(document)
    if output.json_mode or isinstance(output, LoggedOutput):
        return
    width = max(len("data"), *(len(str(one["name"])) for one in processes))
    lines = [f"ragstone {__version__}, profile dev", f"  {'data':{width}}  {data_dir}"]
    lines += [f"  {one['name']!s:{width}}  {one['address']}" for one in processes]
    lines += [f"  {'logs':{width}}  {Path(str(processes[0]['log'])).parent}", f"Ready in {duration(seconds)}. Ctrl-C stops it."]
    output.note("\n".join(lines))
