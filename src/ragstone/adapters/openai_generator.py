"""Any endpoint that speaks OpenAI's `/v1/chat/completions`, as a generator."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.openai_http import CONNECT, HINTS, OF_THE_REQUEST, Failed, checked_address, error_code, new_client, retry_after
from ragstone.domain.answers import Usage
from ragstone.domain.deadline import deadline
from ragstone.domain.errors import Busy, InvalidInput, RagstoneError, Unavailable
from ragstone.domain.generation import GeneratedText, GenerationEvent, GenerationFinished, GenerationRequest, GeneratorIdentity

_LONGEST_LINE = 2**20  # bytes of one event: far beyond any token
_TOO_LONG = ("context_length_exceeded", "exceed_context_size_error")  # OpenAI's code, llama.cpp's
_WORD_OR_MARK = re.compile(r"[A-Za-z]+|[^\sA-Za-z]")


class OpenAIGenerator:
    """`Generator` over `{base_url}/chat/completions`, streamed.

    `base_url` ends in the API's version (`http://127.0.0.1:8080/v1`). `api_key` is asked for at each request, and goes into the Authorization header
    and nowhere else. What an endpoint writes into an error is not passed on, as it may repeat the request or the key; its status and a code of one word
    are. `kind` and `revision` are for the identity: a model that is known by more than its endpoint's name for it has one of its own.
    `first_token_timeout`: seconds until an answer has begun. `concurrency`: answers at once; one more is `Busy`.
    `aclose` when done. Raises `InvalidInput` for a base URL that is none or holds a password.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: Callable[[], str] | None = None,
        kind: str = "openai",
        revision: str = "",
        context_window: int = 8192,
        first_token_timeout: float = 30.0,
        concurrency: int = 128,
    ) -> None:
        self._identity = GeneratorIdentity(kind, model, revision)
        self._context_window = context_window
        address = checked_address(base_url, "generator.base_url")
        self._base = str(address).rstrip("/")
        self._client = new_client(address, api_key, concurrency)
        self._dependency = Dependency("generation", timeout=first_token_timeout, concurrency=concurrency, translate=_translation)

    @property
    def identity(self) -> GeneratorIdentity:
        """Kind `openai`, if no other was given; the name is the model's at the endpoint, the revision what was said of it."""
        return self._identity

    @property
    def context_window(self) -> int:
        """As configured: the protocol has no way to ask."""
        return self._context_window

    @property
    def reads_prompt(self) -> bool:
        """True."""
        return True

    def count_tokens(self, text: str) -> int:
        """An upper estimate for prose and code: a token per 3 letters of a word, per digit and per mark, as many as its bytes elsewhere."""
        return sum(
            -(-len(piece) // 3) if piece.isascii() else len(piece.encode("utf-8", "replace")) for piece in _WORD_OR_MARK.findall(text)
        )

    async def check(self) -> None:
        """Asks for the endpoint's models, which costs it nothing; an endpoint without such a list is there, too."""

        async def ask(seconds: float) -> None:
            response = await self._client.get(f"{self._base}/models", timeout=seconds)
            if response.status_code in (401, 403) or response.status_code >= 500:
                raise Failed(_refused(response.status_code, ""))

        await self._dependency.look(ask)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Text as it comes, then the usage (estimated where the endpoint gives none). Closing it closes the connection.

        Nothing is tried again: an answer without a generator is at hand, and a second try would cost an endpoint in need twice as much.
        """
        until = asyncio.get_running_loop().time() + request.timeout
        with deadline(request.timeout):
            reply, text = await self._dependency.call(lambda _: self._begun(request), retry=False)
        written = 0
        try:
            while text is not None:
                written += self.count_tokens(text)
                yield GeneratedText(text)
                async with _failures(until):  # around each wait, never around a yield: the consumer's time is its own
                    text = await reply.text()
        finally:
            await reply.aclose()
        usage = reply.usage or Usage(self.count_tokens(request.system) + self.count_tokens(request.user), written)
        yield GenerationFinished(usage)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _begun(self, request: GenerationRequest) -> tuple[_Reply, str | None]:
        """An answer, and its first piece of text."""
        response = await self._client.send(self._request(request), stream=True)
        reply = _Reply(response)
        try:
            await _check_response(response)
            return reply, await reply.text()
        except Unavailable as error:
            await reply.aclose()
            raise Failed(error) from error
        except BaseException:
            await reply.aclose()
            raise

    def _request(self, request: GenerationRequest) -> httpx.Request:
        body = {
            "model": self._identity.name,
            "messages": [{"role": "system", "content": request.system}, {"role": "user", "content": request.user}],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return self._client.build_request("POST", f"{self._base}/chat/completions", json=body, headers={"Accept": "text/event-stream"})


class _Reply:
    """A stream of events that has begun."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._events = _events(response)
        self._finished = self._done = False
        self.usage: Usage | None = None

    async def text(self) -> str | None:
        """The next piece, of all events that came together; None at the end. Raises `Unavailable` when it is another kind of stream, or breaks off."""
        while not self._done and (events := await anext(self._events, None)) is not None:
            if text := "".join(map(self._text_of, events)):
                return text
        if not (self._done or self._finished):
            raise Unavailable("The generator's answer broke off; ask again.")
        return None

    def _text_of(self, data: str) -> str:
        self._done = self._done or data == "[DONE]"
        if self._done:
            return ""
        chunk = _parsed(data)
        self.usage = _usage(chunk) or self.usage
        text, last = _choice(chunk)
        self._finished = self._finished or last
        return text

    async def aclose(self) -> None:
        await self._response.aclose()


def _translation(error: Exception) -> RagstoneError | None:
    match error:
        case Failed():
            return error.error
        case TimeoutError():
            return Unavailable("The generator did not answer in time; ask for less or raise its timeout.")
        case httpx.PoolTimeout():
            return Busy("As many answers are being generated as may be at once; try again later.", retry_after=CONNECT)
        case httpx.TransportError():
            return Unavailable(
                f"The generator cannot be reached or broke off ({type(error).__name__}); is it up, and generator.base_url its address?"
            )
    return None


@asynccontextmanager
async def _failures(until: float) -> AsyncIterator[None]:
    """Everything that the network can do, as our errors. `until` is on the event loop's clock."""
    try:
        async with asyncio.timeout_at(until):
            yield
    except (TimeoutError, httpx.TransportError) as error:
        raise _translation(error) or error from error


async def _check_response(response: httpx.Response) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        if "text/event-stream" not in response.headers.get("content-type", ""):
            raise Unavailable("The generator did not answer with a stream of events; check its base URL.")
        return
    code = await error_code(response)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise Busy(f"The generator has too much to do{code}; try again later.", retry_after=retry_after(response))
    if any(word in code for word in _TOO_LONG):
        raise InvalidInput(f"The prompt is longer than the generator's context{code}; ask for fewer passages, or lower max_tokens.")
    if status in OF_THE_REQUEST:
        raise InvalidInput(f"The generator refuses the question with status {status}{code}; lower max_tokens, or ask for something else.")
    raise _refused(status, code)


def _refused(status: int, code: str) -> Unavailable:
    return Unavailable(f"The generator answered with status {status}{code}{HINTS.get(status, '')}.")


async def _events(response: httpx.Response) -> AsyncIterator[list[str]]:
    """The `data` of server-sent events, those together that came together. Lines end at line feeds only: JSON may hold other separators of lines as they are."""
    pending = b""
    data: list[bytes] = []
    async for piece in response.aiter_bytes():
        *lines, pending = (pending + piece).split(b"\n")
        if len(pending) > _LONGEST_LINE:
            raise Unavailable("The generator sent an event without end.")
        events = []
        for line in lines:
            content = line.rstrip(b"\r")
            if content.startswith(b"data:"):
                data.append(content[5:].removeprefix(b" "))
            elif not content and data:
                events.append(b"\n".join(data).decode("utf-8", "replace"))
                data = []
        if events:
            yield events
    if pending.startswith(b"data:"):  # some servers end without the last line feeds
        data.append(pending[5:].strip())
    if data:
        yield [b"\n".join(data).decode("utf-8", "replace")]


def _parsed(data: str) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        raise Unavailable("The generator sent an event that is not a JSON object.")
    if "error" in chunk:
        raise Unavailable("The generator reported an error while it wrote.")
    return chunk


def _choice(chunk: dict[str, Any]) -> tuple[str, bool]:
    """The text of the first choice, and whether it is its last."""
    try:
        choices = chunk.get("choices") or []
        if not choices:
            return "", False
        text = (choices[0].get("delta") or {}).get("content") or ""
        finished = choices[0].get("finish_reason") is not None
    except (KeyError, TypeError, AttributeError) as error:
        raise Unavailable("The generator sent an event of another shape than a chat completion's.") from error
    if not isinstance(text, str):
        raise Unavailable("The generator sent an event of another shape than a chat completion's.")
    return text, finished


def _usage(chunk: dict[str, Any]) -> Usage | None:
    usage = chunk.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return Usage(*(count if isinstance(count, int) else 0 for count in counts))
