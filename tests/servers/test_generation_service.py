"""The generation service as people start it: `ragstone serve-generation` with BentoML and llama.cpp, in a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from tests.servers.embedding_service import first_line
from tests.servers.generation_service import Service, missing, serving, start
from tests.servers.reporting import skip_missing
from tests.support.tiny_llama import write_tiny_llama

pytestmark = pytest.mark.servers

KEY = "key-of-the-orchestrator-0123456789"
CHAT = "/v1/chat/completions"
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "For ever?"}], "max_tokens": 50_000, "stream": True}
_PATIENCE = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class Served:
    """`management`: the address of its port without keys."""

    service: Service
    management: str
    model: Path

    async def inside(self) -> dict[str, float]:
        """What runs and what waits in the engine, and what is let in."""
        async with httpx.AsyncClient(timeout=_PATIENCE) as client:
            text = (await client.get(f"{self.management}/metrics")).text
        names = ("llamacpp:requests_processing", "llamacpp:requests_deferred", "ragstone_generation_requests_inside")
        rows = (line.split() for line in text.splitlines() if line.split(" ")[0] in names)
        return {name.rpartition("_")[2]: float(value) for name, value in rows}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Its model never ends by itself; two answers at once, one may wait."""
    folder = tmp_path_factory.mktemp("generation")
    model = write_tiny_llama(folder / "tiny.gguf", endless=True, trained=2**16)
    keys = folder / "keys"
    keys.write_text(f"orchestrator:read:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    variables = {
        "MODEL": str(model),
        "DIGEST": hashlib.sha256(model.read_bytes()).hexdigest(),
        "CONTEXT_WINDOW": str(2**16),
        "MAX_TOKENS": str(2**16),
        "RUNNING": "2",
        "WAITING": "1",
        "RAGSTONE_API_KEYS_FILE": str(keys),
    }
    with serving(folder, variables, "--management-port", "0") as service:
        yield Served(service, str(service.facts["management"]), model)


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=served.service.url, headers=headers, timeout=_PATIENCE) as made:
        yield made


async def test_openais_client_gets_answers_and_streams(served: Served) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.service.url}/v1", api_key=KEY, max_retries=0, timeout=_PATIENCE) as asking:
        raw = await asking.chat.completions.with_raw_response.create(
            model="tiny", messages=[{"role": "user", "content": "Hello"}], max_tokens=9
        )
        stream = await asking.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hello"}], max_tokens=9, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        [listed] = (await asking.models.list()).data
    assert raw.parse().choices[0].message.content == "Quartz is a mineral made of silica [1]."
    assert raw.headers["x-ragstone-model-digest"] == hashlib.sha256(served.model.read_bytes()).hexdigest()
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(said) == raw.parse().choices[0].message.content
    assert len(said) > 5
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 9
    assert listed.id == "tiny"


async def test_without_the_key_nothing_but_health_is_told(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.service.url, timeout=_PATIENCE) as stranger:
        assert (await stranger.post(CHAT, json=BODY)).status_code == 401
        assert (await stranger.post(CHAT, json=BODY, headers={"Authorization": "Bearer no"})).status_code == 401
        assert (await stranger.get("/v1/models")).status_code == 401
        assert (await stranger.get("/metrics")).status_code == 401
        assert (await stranger.get("/healthz")).status_code == 200
        assert (await stranger.get("/readyz")).status_code == 200
        assert (await stranger.get(f"{served.management}/metrics")).status_code == 200


async def test_a_prompt_beyond_the_context_is_refused(client: httpx.AsyncClient) -> None:
    long = {**BODY, "messages": [{"role": "user", "content": "?" * 70_000}]}
    response = await client.post(CHAT, json=long)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert (await client.post(CHAT, json={**BODY, "max_tokens": 3, "stream": False})).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_stops_the_engine(client: httpx.AsyncClient, served: Served, *, stream: bool) -> None:
    for _ in range(5):
        asking = asyncio.create_task(client.post(CHAT, json={**BODY, "stream": stream}))
        async with asyncio.timeout(_PATIENCE):
            while (await served.inside())["processing"] != 1:  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.02)
        asking.cancel()
        await asyncio.wait([asking])
        async with asyncio.timeout(_PATIENCE):
            while any((await served.inside()).values()):  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.02)


async def test_what_runs_and_waits_is_bounded(client: httpx.AsyncClient, served: Served) -> None:
    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(client.post(CHAT, json=BODY)) for _ in range(3)]
        stack.callback(lambda: [task.cancel() for task in tasks])
        async with asyncio.timeout(_PATIENCE):
            while await served.inside() != {"processing": 2, "deferred": 1, "inside": 3}:  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.02)
        refused = await client.post(CHAT, json=BODY)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert (await client.get("/readyz")).status_code == 200  # busy is not broken
    await asyncio.wait(tasks)
    async with asyncio.timeout(_PATIENCE):
        while any((await served.inside()).values()):  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.02)
    assert (await client.post(CHAT, json={**BODY, "max_tokens": 3})).status_code == 200


async def test_a_stop_lets_a_running_answer_end(tmp_path: Path) -> None:
    if why := missing():
        skip_missing("BentoML", why)
    model = write_tiny_llama(tmp_path / "tiny.gguf", endless=True, trained=2**16)
    variables = {"MODEL": str(model), "CONTEXT_WINDOW": str(2**16), "MAX_TOKENS": str(2**16)}
    with start(tmp_path, variables, "--management-port", "0", "--grace", "120") as process:
        facts = await asyncio.to_thread(first_line, process, tmp_path)
        async with (
            httpx.AsyncClient(base_url=facts["url"], timeout=_PATIENCE) as client,
            client.stream("POST", CHAT, json={**BODY, "max_tokens": 2_000}) as response,
        ):
            pieces = response.aiter_bytes()
            said = [await anext(pieces)]
            process.send_signal(signal.SIGTERM)
            ready = await client.get(f"{facts['management']}/readyz")
            said += [piece async for piece in pieces]
        assert ready.status_code == 503
        assert b"".join(said).endswith(b"data: [DONE]\n\n")
        assert await asyncio.to_thread(process.wait, _PATIENCE) == 0


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "say which model to serve"),
        ({"MODEL": "models:/a@b"}, "no registered model 'a'"),
        ({"MODEL": "/nowhere.gguf"}, "There is no GGUF file"),
    ],
)
def test_a_model_that_can_not_be_served_ends_the_start_with_a_sentence(variables: dict[str, str], says: str, tmp_path: Path) -> None:
    if why := missing():
        skip_missing("BentoML", why)
    with start(tmp_path, variables) as process:
        said, _ = process.communicate(timeout=300.0)
    assert process.returncode != 0
    assert says in said + (tmp_path / "service.log").read_text()
