"""The generation service while its engine is replaced: which one answers whom, how many at once, and what is said of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from ragstone.domain.errors import Unavailable
from ragstone.services.generation.serving import Serving
from tests.api.test_generation_service import CHAT, asked, first_piece, served
from tests.fakes.generation_engine import ScriptedEngine

_PATIENCE = 60.0  # seconds


class Paced(ScriptedEngine):
    """Its answers go on until `ends` is set, and then say one word more."""

    def __init__(self, version: str) -> None:
        super().__init__([f"{version} "], version=version)
        self.begins = asyncio.Event()
        self.begins.set()
        self.ends = asyncio.Event()
        self.closed = asyncio.Event()
        self.dies: Unavailable | None = None

    async def chat(self, body: bytes):  # type: ignore[no-untyped-def]
        reply = await super().chat(body)
        await self.begins.wait()
        first, *rest = reply._pieces

        async def pieces(every: float = 0.0) -> AsyncIterator[bytes]:
            yield first
            await self.ends.wait()
            if self.dies is not None:
                raise self.dies
            for piece in (first, *rest):
                yield piece

        reply.pieces = pieces  # type: ignore[method-assign]
        return reply

    async def close(self) -> None:
        assert not self.running
        self.closed.set()
        await super().close()


@asynccontextmanager
async def stream(client: httpx.AsyncClient) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[bytes]]]:
    """An answer that has begun."""
    async with client.stream("POST", CHAT, json=asked(stream=True)) as response:
        _, pieces = await first_piece(response)
        yield response, pieces


async def swapping(serving: Serving, new: Paced) -> asyncio.Task[None]:
    await new.start()
    task = asyncio.create_task(serving.engines.swap(new))
    await asyncio.sleep(0)
    return task


async def rest(pieces: AsyncIterator[bytes]) -> str:
    async with asyncio.timeout(_PATIENCE):
        return b"".join([piece async for piece in pieces]).decode()


async def inside(serving: Serving, count: int) -> None:
    async with asyncio.timeout(_PATIENCE):
        while serving.metrics.inside._value.get() != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def version(response: httpx.Response) -> str:
    return str(response.headers["x-ragstone-model-version"])


async def test_an_answer_ends_on_the_engine_that_it_began_with_which_is_ended_then() -> None:
    old, new = Paced("1"), Paced("2")
    new.ends.set()
    async with served(old) as (client, serving):
        async with stream(client) as (response, pieces):
            change = await swapping(serving, new)
            whole = await client.post(CHAT, json=asked())
            assert (version(whole), whole.json()["choices"][0]["message"]["content"]) == ("2", "2 2 ")
            assert (await client.get("/v1/models")).json()["data"][0]["version"] == "2"
            assert not old.closed.is_set()
            assert not change.done()
            old.ends.set()
            text = await rest(pieces)
        assert version(response) == "1"
        assert text.endswith("data: [DONE]\n\n")
        assert '"2 "' not in text
        await asyncio.wait_for(change, _PATIENCE)
        assert old.closed.is_set()
        assert 'version="2"' in (await client.get("/metrics")).text
        assert 'version="1"' not in (await client.get("/metrics")).text


async def test_an_answer_names_the_engine_that_makes_it_although_another_serves_when_it_begins() -> None:
    old, new = Paced("1"), Paced("2")
    old.begins.clear()
    old.ends.set()
    async with served(old) as (client, serving):
        asking = [asyncio.create_task(client.post(CHAT, json=asked(stream=streamed))) for streamed in (True, False)]
        async with asyncio.timeout(_PATIENCE):
            while old.running < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        change = await swapping(serving, new)
        assert serving.engine is new
        old.begins.set()
        for answer in await asyncio.gather(*asking):
            assert version(answer) == "1"
            assert '"1 ' in answer.text
        await asyncio.wait_for(change, _PATIENCE)


async def test_both_engines_together_run_no_more_than_one_would_and_the_rest_is_429() -> None:
    old, new = Paced("1"), Paced("2")
    new.ends.set()
    async with served(old, running=1, waiting=2) as (client, serving), stream(client) as (_, pieces):
        change = await swapping(serving, new)
        waiting = [asyncio.create_task(client.post(CHAT, json=asked())) for _ in range(2)]
        await inside(serving, 3)
        assert (await client.post(CHAT, json=asked())).status_code == 429
        assert (new.bodies, [task.done() for task in waiting]) == ([], [False, False])  # the one place is the old one's
        old.ends.set()
        await rest(pieces)
        async with asyncio.timeout(_PATIENCE):
            answers = await asyncio.gather(*waiting)
            await change
        assert [(answer.status_code, version(answer)) for answer in answers] == [(200, "2")] * 2
        assert (await client.post(CHAT, json=asked())).status_code == 200


async def test_one_that_waits_may_go_and_an_old_answer_holds_the_change_up_no_longer_than_it_may_take() -> None:
    old, new = Paced("1"), Paced("2")
    async with served(old, running=1, waiting=2, answer_seconds=2.0) as (client, serving), stream(client) as (_, pieces):
        change = await swapping(serving, new)
        waiting = asyncio.create_task(client.post(CHAT, json=asked()))
        await inside(serving, 2)
        waiting.cancel()
        await inside(serving, 1)
        assert new.bodies == []
        assert "took too long" in await rest(pieces)
        await asyncio.wait_for(change, _PATIENCE)
        assert old.closed.is_set()


async def test_an_old_engine_that_dies_breaks_off_what_it_answered_and_nothing_else() -> None:
    old, new = Paced("1"), Paced("2")
    new.ends.set()
    async with served(old) as (client, serving), stream(client) as (_, pieces):
        change = await swapping(serving, new)
        old.dies = Unavailable("The engine broke off.", field="engine")
        old.ends.set()
        text = await rest(pieces)
        assert json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["message"] == "The engine broke off."
        assert "[DONE]" not in text
        await asyncio.wait_for(change, _PATIENCE)
        assert old.closed.is_set()
        assert version(await client.post(CHAT, json=asked())) == "2"


async def test_a_new_engine_that_dies_is_not_ready_and_the_old_one_still_ends_its_answers() -> None:
    old, new = Paced("1"), Paced("2")
    async with served(old) as (client, serving), stream(client) as (_, pieces):
        change = await swapping(serving, new)
        new.up = False
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.post(CHAT, json=asked())).status_code == 503
        old.ends.set()
        assert "[DONE]" in await rest(pieces)
        await asyncio.wait_for(change, _PATIENCE)


async def test_a_stop_during_a_change_ends_the_answers_of_both_and_closes_both() -> None:
    old, new = Paced("1"), Paced("2")
    async with AsyncExitStack() as stack:
        client, serving = await stack.enter_async_context(served(old))
        _, first = await stack.enter_async_context(stream(client))
        change = await swapping(serving, new)
        _, second = await stack.enter_async_context(stream(client))
        serving.stopping = True
        change.cancel()
        await asyncio.wait([change])
        assert (await client.post(CHAT, json=asked())).status_code == 503
        for engine, pieces in ((old, first), (new, second)):
            assert not engine.closed.is_set()
            engine.ends.set()
            assert "[DONE]" in await rest(pieces)
        async with asyncio.timeout(_PATIENCE):
            while old.running or new.running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await serving.engines.close()
        assert old.closed.is_set()
        assert new.closed.is_set()


async def test_readiness_says_why_it_does_not_serve_what_the_alias_means() -> None:
    class Follower:
        problem: str | None = "models:/m@champion: models:/m/2 is refused."

    async with served(ScriptedEngine()) as (client, serving):
        assert (await client.get("/readyz")).json() == {"status": "ready", "degraded": []}
        serving.followers = (Follower(),)
        assert (await client.get("/readyz")).json() == {"status": "ready", "degraded": [{"part": "model", "reason": Follower.problem}]}
