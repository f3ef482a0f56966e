"""Refusing early: when no question can be taken, the next one is told so before anything of it is read."""

from __future__ import annotations

from random import randint

from pydantic_core import to_json
from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone.domain.errors import Busy
from ragstone.domain.ids import new_id
from ragstone.services.orchestrator.gate import Gate
from ragstone.services.orchestrator.problems import OPENAI_PATHS, PROBLEM, openai_error, problem
from ragstone.telemetry.metrics import Metrics

QUESTIONS = frozenset({"/query", "/v1/search", "/v1/chat/completions"})


class Shedding:
    """Pure ASGI middleware, outside of all others: answers 429 to a question while `gate` is full.

    A refusal costs a hundredth of an answer this way, so that many who ask again leave the time to those who are answered. It tells nothing but
    that the server is busy, and so comes before the key is looked at. `Retry-After` grows with the load and differs from one to the next, lest all come back at once.
    """

    def __init__(self, app: ASGIApp, gate: Gate, metrics: Metrics) -> None:
        self._app = app
        self._gate = gate
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in QUESTIONS or not self._gate.full:
            await self._app(scope, receive, send)
            return
        id_ = new_id()
        error, openai = self._gate.refuse(), scope["path"].startswith(OPENAI_PATHS)
        body = to_json(openai_error(error, id_) if openai else problem(error, id_))
        headers = [
            (b"content-type", b"application/json" if openai else PROBLEM.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", str(_spread(error)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", id_.encode()),
        ]
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._metrics.request(scope["method"], scope["path"], error.status, 0.0)


def _spread(error: Busy) -> int:
    """Whole seconds around those that the error names."""
    return randint(1, max(1, round(2 * (error.retry_after or 1.0)) - 1))  # noqa: S311 - no secret, only not the same for all
