"""llama.cpp in a process of its own (`llama_program`).

In this process it would hold Python's lock while it loads and frees a model, and stop every answer for as long: 0.8 s for a model of 92 MB. So one that
comes beside another, which goes on answering, has its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ragstone.adapters.kept_engine import KeptEngine
from ragstone.adapters.llama_model_file import checked_digest, gguf_file

_PROGRAM = "ragstone.adapters.llama_program"
_STARTUP = 1_800.0  # seconds until it must answer: a large model from a slow disk
_SILENT = 120.0  # seconds with work and without a word after which it hangs


class LlamaProcess(KeptEngine):
    """`GenerationEngine` over a process that runs llama.cpp. Arguments are those of `LlamaEngine`. When it dies or hangs it is started again."""

    def __init__(
        self,
        model: Path,
        *,
        name: str,
        version: str,
        context_window: int,
        slots: int,
        waiting: int,
        threads: int | None,
        digest: str | None,
    ) -> None:
        options = {"name": name, "context_window": context_window, "slots": slots, "waiting": waiting, "threads": threads}

        def command(socket: Path) -> list[str]:
            return [sys.executable, "-m", _PROGRAM, json.dumps({**options, "socket": str(socket), "file": str(gguf_file(model))})]

        super().__init__(
            (name,),
            version,
            command,
            lambda: checked_digest(gguf_file(model), digest),
            startup=_STARTUP,
            silent=_SILENT,
            environment={"GGML_NO_BACKTRACE": "1"},  # a debugger that it would start on itself, where there is one
        )

    async def start(self) -> None:
        """Returns once it answers."""
        await super().start()
        try:
            await self.ready()
        except BaseException:
            await self.close()
            raise
