"""llama.cpp in this process (`xllamacpp`).

Besides its Python calls it always opens an HTTP port, which llama.cpp's own server answers. That port is used, by its OpenAI protocol, and the calls are not: they
block a thread for an answer's whole time, and can be stopped only when a token comes, while the server sees a closed connection between two batches
of a prompt, too. It listens on 127.0.0.1, at a port the kernel chooses, and takes a random key that never leaves this process.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import httpx
import xllamacpp  # type: ignore[import-untyped]

from ragstone.adapters.llama_model_file import checked_digest, gguf_file
from ragstone.adapters.llama_parameters import parameters
from ragstone.adapters.openai_engine import EngineClient, HttpEngineReply
from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.domain.generation import ServedModel

_HUNG = 120.0  # seconds without a word while there is work


class LlamaServer:
    """A loaded model and the server before it, at `base_url` with `key`.

    `model`: a .gguf file or a directory with one. `name`: as requests call it. `context_window`: tokens of prompt and answer together, of each of `slots`
    answers at once; never more than the model was trained for. `threads`: cores to use (default: all that this process may use). `digest`: the SHA-256
    that the file must have. Loading blocks for seconds: not in an event loop's thread. `close` when done, or it goes on until the process ends.
    Raises `NotFound`, or `InvalidInput` for a file that is no GGUF, another one than `digest` says, or that llama.cpp can't load (NaN weights included).
    """

    def __init__(
        self,
        model: Path,
        *,
        name: str = "",
        context_window: int = 4096,
        slots: int = 2,
        waiting: int = 64,
        threads: int | None = None,
        digest: str | None = None,
    ) -> None:
        file = gguf_file(model)
        self.digest = checked_digest(file, digest)
        self.name = name or file.stem
        self.key = secrets.token_urlsafe(32)
        made = parameters(file, self.name, context_window=context_window, slots=slots, waiting=waiting, threads=threads)
        made.hostnames = ["127.0.0.1"]
        made.port = 0
        made.api_keys = [self.key]
        try:
            self._server: xllamacpp.Server | None = xllamacpp.Server(made)
        except RuntimeError as error:
            raise InvalidInput(f"{file.name}: llama.cpp can't load it; its own words are in the log.", field="model") from error
        self.base_url: str = self._server.listening_address
        self.context_window = min(context_window, self._trained())

    def close(self) -> None:
        """Ends answers that are being made, and frees the model. Blocks until the batch that is being computed is done."""
        self._server = None  # its destructor does it

    def _trained(self) -> int:
        """Tokens that the model was trained for; llama.cpp never uses more."""
        listed = httpx.get(f"{self.base_url}/v1/models", headers={"Authorization": f"Bearer {self.key}"}, timeout=30.0, trust_env=False)
        return int(listed.json()["data"][0]["meta"]["n_ctx_train"])


class LlamaEngine:
    """`GenerationEngine` over a `LlamaServer` that `load` makes. It can't be started again when it hangs: the process has to end."""

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
        self._make = lambda: LlamaServer(
            model, name=name, context_window=context_window, slots=slots, waiting=waiting, threads=threads, digest=digest
        )
        self._version = version
        self._model = ServedModel(name, version)
        self._server: LlamaServer | None = None
        self._client: EngineClient | None = None

    @property
    def model(self) -> ServedModel:
        """With the file's SHA-256 once it is started."""
        return self._model

    @property
    def names(self) -> tuple[str, ...]:
        """One."""
        return (self._model.name,)

    @property
    def lost(self) -> bool:
        """Whether it has had work for 2 minutes and said nothing."""
        return self._client is not None and self._client.silence > _HUNG

    async def start(self) -> None:
        """Returns once it answers."""
        self._server = await asyncio.to_thread(self._make)
        self._model = ServedModel(self._server.name, self._version, self._server.digest)
        self._client = EngineClient(self._server.base_url, key=self._server.key)

    async def ready(self) -> None:
        """At once: it is, once it is started."""
        await self.check()

    async def check(self) -> None:
        """Its server answers, and it is not lost: work that takes long is no reason to be taken out of service."""
        if self._client is None or self.lost or not await self._client.healthy("/health"):
            raise Unavailable("The engine does not answer.", field="engine", retry_after=5.0)

    async def chat(self, body: bytes) -> HttpEngineReply:
        if self._client is None:
            raise Unavailable("The engine is not started.", field="engine", retry_after=5.0)
        return await self._client.chat(body)

    async def metrics(self) -> str:
        return await self._client.metrics() if self._client else ""

    async def close(self) -> None:
        if self._client:
            await self._client.aclose()
        if self._server:
            await asyncio.to_thread(self._server.close)
        self._client = self._server = None
