"""Rerankers behind an HTTP route `/rerank`, in the dialects of Text Embeddings Inference, Cohere (v2) and Jina."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple

import httpx

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.openai_http import HINTS, OF_THE_REQUEST, Failed, checked_address, new_client, retry_after
from ragstone.domain.errors import InvalidInput, RagstoneError, Unavailable
from ragstone.domain.reranking import RerankerIdentity

_LONGEST_TEXT = 2**16  # characters that are sent of a text: more than any of these models reads
_ANSWER_BYTES = 2**24  # of an answer that are read: some servers send the texts back
_BUSY = 429

Dialect = Literal["tei", "cohere", "jina"]


class _Dialect(NamedTuple):
    """`texts`: the most that one request may hold where nothing else is set up. `score`: what an answer's rows call it. `alive`: a route that costs nothing."""

    texts: int
    score: str
    alive: str


# TEI takes 32 texts unless it was started with --max-client-batch-size; Cohere advises against more than 1,000.
_DIALECTS: Mapping[Dialect, _Dialect] = {
    "tei": _Dialect(32, "score", "health"),
    "cohere": _Dialect(1_000, "relevance_score", "models"),
    "jina": _Dialect(1_000, "relevance_score", "models"),
}


class HttpReranker:
    """`Reranker` over `POST {base_url}/rerank`.

    `base_url` ends before `/rerank`: `http://127.0.0.1:8080` (TEI), `https://api.cohere.com/v2`, `https://api.jina.ai/v1`. `model`: its name at the
    endpoint; TEI serves one, whose name is only recorded. `api_key` is asked for at each request, and goes into the Authorization header and nowhere else.
    `batch`: texts of one request, None for what the service takes. `timeout`: seconds for one request. `concurrency`: requests at once; more wait.
    TEI is asked for raw scores, as probabilities near 1 can't be told apart. Nothing is tried again: the order without a reranker is at hand.
    Raises `InvalidInput` for a base URL that is none or holds a password.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        dialect: Dialect,
        api_key: Callable[[], str] | None = None,
        batch: int | None = None,
        timeout: float = 10.0,
        concurrency: int = 16,
    ) -> None:
        self._identity = RerankerIdentity(dialect, model)
        self._dialect = dialect
        self._batch = batch or _DIALECTS[dialect].texts
        address = checked_address(base_url, "reranker.base_url")
        self._base = str(address).rstrip("/")
        self._client = new_client(address, api_key, concurrency)
        self._dependency = Dependency("rerank", timeout=timeout, concurrency=concurrency, translate=_translation)

    @property
    def identity(self) -> RerankerIdentity:
        """The kind is the dialect, the name the model's at the endpoint."""
        return self._identity

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """As the endpoint scores; texts beyond what one request may hold go in several at once."""
        self._check_open()
        parts = [texts[start : start + self._batch] for start in range(0, len(texts), self._batch)]
        asking = [asyncio.ensure_future(self._asked(self._body(question, part), len(part))) for part in parts]
        try:
            return list(chain.from_iterable(await asyncio.gather(*asking)))
        finally:
            for task in asking:
                task.cancel()

    async def check(self) -> None:
        """TEI's own check of its health; of the others the list of models, and one without such a list is there, too."""
        self._check_open()

        async def ask(seconds: float) -> None:
            response = await self._client.get(f"{self._base}/{_DIALECTS[self._dialect].alive}", timeout=seconds)
            if response.status_code in (401, 403) or response.status_code >= 500:
                raise Failed(_refused(response.status_code))

        await self._dependency.look(ask)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _asked(self, body: bytes, count: int) -> list[float]:
        return await self._dependency.call(lambda _: self._answered(body, count), retry=False)

    async def _answered(self, body: bytes, count: int) -> list[float]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = self._client.build_request("POST", f"{self._base}/rerank", content=body, headers=headers)
        response = await self._client.send(request, stream=True)
        try:
            status = response.status_code
            if status == _BUSY:
                raise Unavailable("The reranker has too much to do.", retry_after=retry_after(response))
            if status in OF_THE_REQUEST:
                raise Unavailable(f"The reranker refuses the texts with status {status}; check reranker.batch and its model.")
            if status != httpx.codes.OK:
                raise Failed(_refused(status))
            return self._scores(await _body_of(response), count)
        finally:
            await response.aclose()

    def _body(self, question: str, texts: Sequence[str]) -> bytes:
        shown = [text[:_LONGEST_TEXT] for text in texts]
        match self._dialect:
            case "tei":
                body = {"query": question, "texts": shown, "raw_scores": True, "truncate": True, "return_text": False}
            case "cohere":
                body = {"model": self._identity.name, "query": question, "documents": shown, "top_n": len(shown)}
            case "jina":
                body = {"model": self._identity.name, "query": question, "documents": shown, "top_n": len(shown), "return_documents": False}
        try:
            return json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise InvalidInput("A text is not valid Unicode: it holds half of a surrogate pair.", field="text") from error

    def _scores(self, body: bytes | None, count: int) -> list[float]:
        """By text. TEI answers with a list of rows, the others with one under `results`; each row names its text by `index`, in any order."""
        if body is None:
            raise Failed(Unavailable(f"The reranker's answer has more than {_ANSWER_BYTES:,} bytes."))
        try:
            answer: Any = json.loads(body)
            rows = answer if self._dialect == "tei" else answer["results"]
            found = {_index(row["index"]): float(_number(row[_DIALECTS[self._dialect].score])) for row in rows}
            whole = len(rows) == count and found.keys() == set(range(count))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise Failed(
                Unavailable(
                    f"The reranker's answer has another shape than {self._dialect}'s; check reranker.dialect and reranker.base_url."
                )
            ) from error
        if not whole:
            raise Failed(Unavailable(f"The reranker's answer does not hold each of {count} texts once."))
        if not all(map(math.isfinite, found.values())):
            raise Failed(Unavailable("The reranker gave a score that is not finite."))
        return [found[index] for index in range(count)]

    def _check_open(self) -> None:
        if self._client.is_closed:
            raise Unavailable("The reranker was closed.")


def _translation(error: Exception) -> RagstoneError | None:
    match error:
        case Failed():
            return error.error
        case TimeoutError():
            return Unavailable("The reranker did not answer in time.")
        case httpx.TransportError() | httpx.DecodingError():
            return Unavailable(
                f"The reranker cannot be reached or broke off ({type(error).__name__}); is it up, and reranker.base_url its address?"
            )
    return None


async def _body_of(response: httpx.Response) -> bytes | None:
    """None when it is too large."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _ANSWER_BYTES:
            return None
    return bytes(body)


def _refused(status: int) -> Unavailable:
    return Unavailable(f"The reranker answered with status {status}{HINTS.get(status, '')}.")


def _index(value: object) -> int:
    if type(value) is not int:  # JSON's true is a bool, which Python takes for 1
        raise TypeError(value)
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return value
