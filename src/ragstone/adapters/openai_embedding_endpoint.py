"""One embeddings endpoint: requests out, checked answers in."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Literal
from urllib.parse import quote

import httpx
from pydantic_core import to_json

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.openai_embedding_reply import Reply, read_description, read_reply
from ragstone.adapters.openai_http import CONNECT, HINTS, OF_THE_REQUEST, Failed, checked_address, error_code, new_client, retry_after
from ragstone.domain.deadline import remaining
from ragstone.domain.errors import Busy, InvalidInput, NotFound, RagstoneError, Unavailable
from ragstone.domain.spaces import ModelIdentity

NAME = "embedding"  # as a dependency
_HEAD_BYTES = 2**16  # of an answer, beside its vectors
_TEXT_BYTES = 2**18  # of one vector: enough for 8,192 numbers in full
_IN_LOOP = 2**16  # bytes; larger answers are read in a thread
_BUSY_TRIES = 8
_PAUSE = 0.5  # seconds, doubled each time, where the server names none
_LONGEST_PAUSE = 60.0

Encoding = Literal["base64", "float"]


class OtherSpace(Unavailable):
    """The server refused to embed: what it serves gives vectors of another embedding space."""


class EmbeddingEndpoint:
    """`{base_url}/embeddings` and `{base_url}/models` of a server that speaks OpenAI's protocol; `base_url` ends in the API's version.

    `model`: its name at the server. `api_key` is asked for at each request, and goes into the Authorization header and nowhere else. `timeout`: seconds for one
    request. `concurrency`: requests at once; more wait. `encoding`: in which vectors are asked for; both are understood.
    For one event loop; `aclose` when done. Raises `InvalidInput` for a base URL that is none or holds a password.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: Callable[[], str] | None = None,
        timeout: float = 30.0,
        concurrency: int = 16,
        encoding: Encoding = "base64",
    ) -> None:
        address = checked_address(base_url, "embedder.base_url")
        self.model = model
        self._base = str(address).rstrip("/")
        self._encoding = encoding
        self._client = new_client(address, api_key, concurrency + 2)  # two more for checks, which no call may keep waiting
        self._dependency = Dependency(NAME, timeout=timeout, concurrency=concurrency, translate=_translation)

    async def embed(self, texts: Sequence[str], extra: Mapping[str, str]) -> Reply:
        """The vectors of one request's texts, at least one; `extra` fields go with them.

        Embedding twice does no harm, so what may pass is tried again. A server that has too much to do (429) is asked again after the time that it names, as long as
        the request's deadline allows, else `Busy` says when. Raises `InvalidInput` when it refuses the texts, `OtherSpace`, `Unavailable`, `InternalError`.
        """
        body = self._body(texts, extra)
        pause = _PAUSE
        for tries_left in reversed(range(_BUSY_TRIES)):
            try:
                return await self._dependency.call(lambda _: self._ask(body, len(texts)), retry=True)
            except Busy as busy:
                wait, left = busy.retry_after or pause, remaining()
                if not tries_left or wait > _LONGEST_PAUSE or (left is not None and wait >= left):
                    raise
                pause *= 2
                await asyncio.sleep(wait * random.uniform(1.0, 1.25))  # noqa: S311 - no secret, only not the same for all
        raise AssertionError("the last try returns or raises")

    async def describe(self) -> ModelIdentity | None:
        """The model, as ragstone's own server tells it; None when the server is another. Raises `NotFound`, `Unavailable`."""
        return await self._dependency.call(lambda _: self._model(), retry=True)

    async def look(self, texts: Sequence[str], extra: Mapping[str, str]) -> Reply:
        """As `embed`, for checks of health: once, whatever the circuit breaker says. Raises `Busy` for 429."""
        body = self._body(texts, extra)
        return await self._dependency.look(lambda _: self._ask(body, len(texts)))

    async def look_at_model(self) -> ModelIdentity | None:
        """As `describe`, for checks of health."""
        return await self._dependency.look(lambda _: self._model())

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    def _body(self, texts: Sequence[str], extra: Mapping[str, str]) -> bytes:
        return to_json({"model": self.model, "input": list(texts), "encoding_format": self._encoding, **extra})

    async def _ask(self, body: bytes, count: int) -> Reply:
        request = self._client.build_request("POST", f"{self._base}/embeddings", content=body, headers={"Content-Type": "application/json"})
        content = await self._content(request, _HEAD_BYTES + count * _TEXT_BYTES)
        with _counted():
            return await asyncio.to_thread(read_reply, content, count) if len(content) > _IN_LOOP else read_reply(content, count)

    async def _model(self) -> ModelIdentity | None:
        request = self._client.build_request("GET", f"{self._base}/models/{quote(self.model, safe='')}")
        content = await self._content(request, _HEAD_BYTES)
        with _counted():
            return read_description(content)

    async def _content(self, request: httpx.Request, limit: int) -> bytes:
        """The body of a good answer, of at most `limit` bytes."""
        async with self._sent(request) as response:
            if response.status_code != httpx.codes.OK:
                raise await _refusal(response, looking=request.method == "GET")
            content = bytearray()
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > limit:
                    raise Failed(Unavailable("The embedding server sent an answer without end."))
        return bytes(content)

    @asynccontextmanager
    async def _sent(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        response = await self._client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()


@contextmanager
def _counted() -> Iterator[None]:
    """What is `Unavailable` within counts against the server."""
    try:
        yield
    except Unavailable as error:
        raise Failed(error) from error


def _translation(error: Exception) -> RagstoneError | None:
    match error:
        case Failed():
            return error.error
        case TimeoutError():
            return Unavailable(
                "The embedding server did not answer in time; send less at once (embedder.batch_tokens) or raise its timeout."
            )
        case httpx.PoolTimeout():
            return Busy("As many requests to the embedding server run as may at once; try again later.", retry_after=CONNECT)
        case httpx.TransportError() | httpx.DecodingError():
            return Unavailable(
                f"The embedding server cannot be reached or broke off ({type(error).__name__}); is it up, and embedder.base_url its address?"
            )
    return None


async def _refusal(response: httpx.Response, *, looking: bool) -> Exception:
    status, code = response.status_code, await error_code(response)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return Busy(f"The embedding server has too much to do{code}; try again later.", retry_after=retry_after(response))
    if status == httpx.codes.CONFLICT:  # it is there; it only serves another model than it did
        return OtherSpace(
            "The embedding server serves another model than the one that this process met; its vectors are not used.", field=NAME
        )
    if looking and status == httpx.codes.NOT_FOUND:
        return NotFound("The embedding server has no such model.", field="embedder.model")
    if status in OF_THE_REQUEST:
        return InvalidInput(
            f"The embedding server refuses the texts with status {status}{code}; "
            "see its limits, and embedder.window, embedder.batch_texts and embedder.batch_tokens.",
            field="embedder",
        )
    return Failed(Unavailable(f"The embedding server answered with status {status}{code}{HINTS.get(status, '')}."))
