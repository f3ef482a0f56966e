"""Refusals before anything of a question is read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from ragstone.services.orchestrator.gate import Gate
from ragstone.services.orchestrator.shedding import Shedding
from ragstone.telemetry.metrics import Metrics


class Called(Exception):
    pass


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    raise Called


async def _unread() -> Message:
    raise AssertionError("nothing of the request is read")


async def _ask(shedding: Shedding, path: str) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await shedding({"type": "http", "path": path, "method": "POST", "headers": []}, _unread, send)
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


async def _while_full(gate: Gate, work: Callable[[], Awaitable[None]]) -> None:
    async with gate:
        waiting = asyncio.create_task(gate.__aenter__())
        await asyncio.sleep(0)
        await work()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_question_passes_while_there_is_room() -> None:
    with pytest.raises(Called):
        await _ask(Shedding(_application, Gate(1, 1), Metrics()), "/query")


@pytest.mark.parametrize("path", ["/query", "/v1/search", "/v1/chat/completions"])
async def test_a_full_server_says_so_and_when_to_come_back(path: str) -> None:
    gate = Gate(1, 1, patience=60)
    shedding = Shedding(_application, gate, Metrics())

    async def work() -> None:
        status, headers, body = await _ask(shedding, path)
        assert status == 429
        assert int(headers[b"retry-after"]) >= 1
        assert headers[b"cache-control"] == b"no-store"
        told = body["error"]["code"] if path.startswith("/v1/chat") else body["type"]
        assert told.endswith("busy")

    await _while_full(gate, work)


async def test_everything_else_goes_on_while_questions_are_refused() -> None:
    gate = Gate(1, 1, patience=60)
    shedding = Shedding(_application, gate, Metrics())

    async def work() -> None:
        for path in ("/readyz", "/metrics", "/ingest", "/v1/jobs"):
            with pytest.raises(Called):
                await _ask(shedding, path)

    await _while_full(gate, work)


async def test_the_time_told_grows_with_those_who_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("ragstone.services.orchestrator.gate.time.monotonic", lambda: now)
    gate = Gate(1, 0, patience=60)

    async def second() -> float:
        nonlocal now
        for _ in range(10):  # ten are served, a hundred refused
            async with gate:
                pass
        told = 0.0
        for _ in range(100):
            told = gate.refuse().retry_after or 0.0
        now += 1.0
        gate.refuse()
        return told

    first = await second()
    later = await second()
    assert first == 1.0
    assert later == pytest.approx(10.0, rel=0.05)
