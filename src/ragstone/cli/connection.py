"""The way to the API: a server asked for, the running owner of the data directory, or the application in this process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from ragstone.adapters.data_directory import owner  # not through bootstrap, which imports every engine
from ragstone.cli.client import Client
from ragstone.cli.in_process import App, InProcessTransport
from ragstone.cli.output import Output
from ragstone.cli.pull import ensure_model
from ragstone.domain.errors import InvalidInput
from ragstone.services.devtree.programs import configured
from ragstone.services.devtree.state import ensure_reached
from ragstone.settings.model import LOOPBACK, Settings

_IN_PROCESS = "http://127.0.0.1"
_PATIENCE = 10.0  # seconds


@asynccontextmanager
async def connect(settings: Settings, server: str | None, output: Output, api_key: str | None = None) -> AsyncIterator[Client]:
    """A client, open; a server gets `api_key`, and no server that it redirects to (redirects are not followed). Raises `DataDirectoryError`, `InvalidInput`, and what loading the model raises."""
    address = server or await _owner(settings, output)
    if address is not None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
        async with httpx.AsyncClient(base_url=_checked(address), headers=headers, trust_env=not _is_loopback(address)) as http:
            yield Client(http, remote=True)
        return
    ensure_reached(settings.data_dir, configured(settings))
    from ragstone.bootstrap.platform import open_platform  # only here: it imports every engine
    from ragstone.services.orchestrator.app import create_app
    from ragstone.telemetry.logging import configure_logging

    configure_logging("DEBUG" if os.environ.get("RAGSTONE_DEBUG") else "CRITICAL")  # a command says itself what went wrong
    await ensure_model(settings, output)
    async with open_platform(settings) as platform, in_process(create_app(platform, settings)) as client:
        yield client


@asynccontextmanager
async def in_process(app: App) -> AsyncIterator[Client]:
    """A client of an application in this process."""
    async with httpx.AsyncClient(base_url=_IN_PROCESS, transport=InProcessTransport(app)) as http:
        yield Client(http, remote=False)


async def _owner(settings: Settings, output: Output) -> str | None:
    """Where the owner of the data directory answers. One that has not said so yet (it starts, or is a short command) is waited for."""
    deadline = time.monotonic() + _PATIENCE
    told = False
    while (running := owner(settings.data_dir)) is not None and running.url is None and time.monotonic() < deadline:
        if not told:
            output.note(f"The data directory is in use by process {running.pid}; waiting up to {_PATIENCE:.0f} s for it.")
            told = True
        await asyncio.sleep(0.1)
    return running.url if running else None


def _checked(address: str) -> str:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidInput(f"--server: {address[:200]!r} is not an address; give one like http://127.0.0.1:8642.", field="server")
    return address


def _is_loopback(address: str) -> bool:
    return httpx.URL(address).host in LOOPBACK
