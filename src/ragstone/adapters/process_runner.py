"""Shards of bulk work as worker processes of this machine."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ragstone.domain.bulk import BulkRun
from ragstone.domain.errors import Unavailable

_PAUSE = 0.5  # seconds before a process that died is started again; longer each time
_log = logging.getLogger(__name__)

Command = Callable[[str, int], Sequence[str]]


class ProcessRunner:
    """Implements `BulkRunner`. `command(run id, shard)` is the program of one shard, which ends when its standard input does: it must not outlive this process.

    `variables` are added to this process's environment. `retries`: of each shard.
    """

    def __init__(self, command: Command, *, variables: Mapping[str, str] | None = None, retries: int = 5) -> None:
        self._command = command
        self._environment = {**os.environ, **(variables or {})}
        self._retries = retries

    async def run(self, run: BulkRun) -> None:
        try:
            async with asyncio.TaskGroup() as shards:
                for shard in range(run.shards):
                    shards.create_task(self._shard(run, shard))
        except* Unavailable as failed:
            raise failed.exceptions[0] from None

    async def close(self) -> None:
        """Nothing is held between runs."""

    async def _shard(self, run: BulkRun, shard: int) -> None:
        status = 0
        for tried in range(self._retries + 1):
            if tried:
                _log.warning("shard %d of bulk work %s ended with %d; it is started again", shard, run.id, status)
                await asyncio.sleep(_PAUSE * tried)
            status = await self._once(run, shard)
            if status == 0:
                return
        raise Unavailable(
            f"Shard {shard} of the bulk work ended {self._retries + 1} times without being done, at last with status {status}; see the log.",
            field="bulk",
            retry_after=5.0,
        )

    async def _once(self, run: BulkRun, shard: int) -> int:
        """The exit status; negative: the signal that killed it."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(run.id, shard), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, env=self._environment
            )
        except OSError as error:
            raise Unavailable(f"A worker process could not be started ({error.strerror}).", field="bulk") from error
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()  # nothing is lost but the part that it is at
                await asyncio.shield(process.wait())
            if process.stdin is not None:
                process.stdin.close()
                with suppress(OSError):
                    await process.stdin.wait_closed()
