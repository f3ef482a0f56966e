"""Processes of ragstone as people start them (`ragstone up`, `ragstone worker`), killed and started again by tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RAGSTONE = ("ragstone.cli.main",)
_WITHIN = 120.0  # seconds for a start or a stop, on a busy machine


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's, with these settings of ragstone's alone; the model cache is kept."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAGSTONE_") or name == "RAGSTONE_MODELS"}
    return {**kept, "PYTHONUNBUFFERED": "1", **{f"RAGSTONE_{name}": value for name, value in settings.items()}}


class StartFailed(RuntimeError):
    """The process ended before it was ready."""


@dataclass
class Running:
    """A process that was ready. `told`: what it said then (`--json`)."""

    process: asyncio.subprocess.Process
    told: dict[str, Any]

    @property
    def url(self) -> str:
        """Of its API."""
        return str(self.told["url"])

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.returncode is None

    async def ended(self) -> int:
        """Its exit status, or minus the signal that ended it."""
        return await asyncio.wait_for(self.process.wait(), _WITHIN)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal and waits for the end."""
        if self.alive:
            self.process.send_signal(number)
        return await self.ended()


async def start(log: Path, command: str, settings: Mapping[str, str], *arguments: str, module: Sequence[str] = RAGSTONE) -> Running:
    """Starts `ragstone <command>`, its words appended to `log`; returns once it is ready. `module`: another way in. Raises `StartFailed`."""
    with log.open("ab") as said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *module, command, "--json", *arguments),
            env=environment(settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=said,
        )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _WITHIN)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    told = json.loads(line) if line else {}
    if not line or "status" in told:  # a problem
        raise StartFailed(f"ragstone {command} ended with {await process.wait()}: {told.get('detail', f'see {log}')}")
    return Running(process, told)
