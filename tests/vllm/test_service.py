"""Real answers of vLLM through the Bento."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import aclosing
from pathlib import Path

import httpx
import openai
import pytest

from ragstone.adapters.openai_generator import OpenAIGenerator
from ragstone.adapters.vllm_model_files import checked_directory
from ragstone.domain.errors import InvalidInput
from ragstone.domain.generation import GeneratedText
from tests.servers.generation_service import Service
from tests.support.passages import passages, request
from tests.vllm.conftest import wait_until_ready

_PATIENCE = 300.0  # seconds: the machine may be busy
_STOPS = 1.0  # seconds, after a client is gone


def client(service: Service) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=_PATIENCE)


def value(management: str, name: str) -> float:
    text = httpx.get(f"{management}/metrics", timeout=30.0).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + "{"))


async def test_it_knows_the_capital_of_france(service: tuple[Service, str], model: Path) -> None:
    async with client(service[0]) as asking:
        raw = await asking.chat.completions.with_raw_response.create(
            model="smollm2", messages=[{"role": "user", "content": "What is the capital of France?"}], temperature=0, max_tokens=20
        )
    assert "Paris" in str(raw.parse().choices[0].message.content)
    assert raw.headers["x-ragstone-model"] == "smollm2"
    assert raw.headers["x-ragstone-model-digest"] == checked_directory(model)


async def test_a_stream_is_the_same_words_one_by_one(service: tuple[Service, str]) -> None:
    words: list[str] = []
    async with client(service[0]) as asking:
        stream = await asking.chat.completions.create(
            model="smollm2",
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
            max_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
        )
        usage = None
        async for chunk in stream:
            usage = chunk.usage or usage
            words += [str(choice.delta.content) for choice in chunk.choices if choice.delta.content]
    assert len(words) > 3
    assert "Paris" in "".join(words)
    assert usage is not None
    assert usage.completion_tokens >= len(words)


async def test_the_orchestrators_generator_works_against_it(service: tuple[Service, str]) -> None:
    generator = OpenAIGenerator(f"{service[0].url}/v1", "smollm2", context_window=1024, first_token_timeout=_PATIENCE)
    await generator.check()
    asked = request("What is quartz?", passages("Quartz is a mineral."), timeout=_PATIENCE, max_tokens=20)
    *pieces, finished = [event async for event in generator.stream(asked)]
    assert pieces
    assert finished.usage.completion_tokens > 0  # type: ignore[union-attr]
    with pytest.raises(InvalidInput, match="longer than the generator's context"):
        _ = [event async for event in generator.stream(request("word " * 1500, (), timeout=_PATIENCE))]
    await generator.aclose()


async def test_a_client_that_hangs_up_stops_vllm_within_a_second(service: tuple[Service, str]) -> None:
    running, management = service
    generator = OpenAIGenerator(f"{running.url}/v1", "smollm2", context_window=1024, first_token_timeout=_PATIENCE)
    for _ in range(5):
        asked = request("Tell a very long story.", (), timeout=_PATIENCE, max_tokens=900)
        async with aclosing(generator.stream(asked)) as events:
            assert isinstance(await anext(events), GeneratedText)
            assert value(management, "vllm:num_requests_running") == 1
        gone = time.monotonic()
        while value(management, "vllm:num_requests_running"):
            assert time.monotonic() - gone < _STOPS
            await asyncio.sleep(0.02)
    await generator.aclose()


async def test_what_waits_is_seen_in_vllms_metrics_and_one_more_is_429(service: tuple[Service, str]) -> None:
    running, management = service
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Tell a very long story."}], "max_tokens": 900, "stream": True}
    async with httpx.AsyncClient(base_url=running.url, timeout=_PATIENCE) as asking:
        tasks = [asyncio.create_task(asking.post("/v1/chat/completions", json=body)) for _ in range(4)]  # two run, two wait
        async with asyncio.timeout(_PATIENCE):
            while value(management, "vllm:num_requests_waiting") != 2:  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.05)
        assert value(management, "vllm:num_requests_running") == 2
        refused = await asking.post("/v1/chat/completions", json=body)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    async with asyncio.timeout(_PATIENCE):
        while value(management, "vllm:num_requests_running") or value(management, "vllm:num_requests_waiting"):  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.05)


def test_killed_it_is_not_ready_then_started_again(service: tuple[Service, str]) -> None:
    """The last one: it takes another start."""
    running, management = service
    [child] = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()[-1:]
    os.kill(int(child), signal.SIGKILL)
    assert httpx.get(f"{management}/readyz", timeout=30.0).status_code == 503
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 20,
        "temperature": 0,
    }
    refused = httpx.post(f"{running.url}/v1/chat/completions", json=body, timeout=30.0)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    wait_until_ready(management)
    assert "Paris" in httpx.post(f"{running.url}/v1/chat/completions", json=body, timeout=_PATIENCE).text
