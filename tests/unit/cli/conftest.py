"""Commands against the API in this process, over the fakes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import typer

from ragstone.cli.api import ProblemError
from ragstone.cli.client import Client
from ragstone.cli.connection import in_process
from ragstone.cli.in_process import App
from ragstone.cli.session import Flags, Session
from ragstone.domain.errors import RagstoneError
from ragstone.services.orchestrator.app import create_app
from ragstone.settings.load import load_settings
from ragstone.use_cases.limits import Limits
from tests.support.world import World, fake_world


class TestSession(Session):
    """A session whose API runs is `app`."""

    __test__ = False

    def __init__(self, flags: Flags, app: App) -> None:
        super().__init__(flags)
        self._app = app

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with in_process(self._app) as client:
            yield client


@dataclass
class Ran:
    """What a command left behind. `status` as the process would exit."""

    status: int
    out: str
    err: str
    problem: dict[str, Any] | None

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs commands one after another on one platform. `hooks` are called before each request with method and path; set `limits` first."""

    def __init__(self, world: World, capsys: pytest.CaptureFixture[str]) -> None:
        self.world = world
        self.limits: Limits | None = None
        self.hooks: list[Callable[[str, str], Awaitable[None]]] = []
        self._capsys = capsys
        self._app: App | None = None

    def beside(self) -> Shell:
        """Another user of the same platform, without hooks."""
        return Shell(self.world, self._capsys)

    def app(self) -> App:
        if self._app is None:
            platform = replace(self.world.platform, limits=self.limits) if self.limits else self.world.platform
            self._app = create_app(platform, load_settings())
        return self._app

    async def _hooked(self, scope: Any, receive: Any, send: Any) -> None:
        for hook in self.hooks:
            await hook(scope["method"], scope["path"])
        await self.app()(scope, receive, send)

    async def __call__(
        self, command: Callable[..., Awaitable[None]], *arguments: Any, as_json: bool = False, flags: Flags | None = None, **options: Any
    ) -> Ran:
        session = TestSession(replace(flags or Flags(), json=as_json), self._hooked)
        status, problem = 0, None
        self._capsys.readouterr()
        try:
            await command(session, *arguments, **options)
        except typer.Exit as end:
            status = end.exit_code
        except ProblemError as error:
            status, problem = 1, error.document
        except RagstoneError as error:
            status, problem = 1, ProblemError.of(error).document
        captured = self._capsys.readouterr()
        return Ran(status, captured.out, captured.err, problem)


@pytest.fixture
async def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Shell]:
    world = await fake_world(tmp_path / "world")
    yield Shell(world, capsys)
    await world.end(world.platform)


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes files (text or bytes by path) into a directory and returns it."""

    def write(name: str, files: dict[str, str | bytes]) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for path, content in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return write
