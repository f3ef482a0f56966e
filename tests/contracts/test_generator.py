"""The contract of `Generator`, over the extractive one, an OpenAI-compatible endpoint, llama.cpp, ragstone's generation service and the fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from functools import cache
from pathlib import Path

import pytest

from ragstone.adapters.extractive import ExtractiveGenerator
from ragstone.adapters.openai_generator import OpenAIGenerator
from ragstone.domain.errors import Unavailable
from ragstone.domain.generation import GeneratedText, GenerationEvent, GenerationFinished, GenerationRequest
from ragstone.domain.retrieval import Vectors
from ragstone.ports.generator import Generator
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.generator import ScriptedGenerator
from tests.servers.generation_service import serving
from tests.support.chat_server import chat_server, hang, quote
from tests.support.passages import passages, request
from tests.support.tiny_llama import write_tiny_llama

FOUND = passages("Quartz is a mineral. It is made of silica.", "Gold is a metal.")
ASK = request("What is quartz?", FOUND)


class SilentEmbeddingModel(HashingEmbeddingModel):
    """Never answers; `asked` is set when it is called and `cancelled` when its caller gave up."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError


_ONE_THREAD = {"ENGINE": '{"kind": "llama.cpp", "threads": 1}'}  # on a busy machine several wait for each other at every token


@asynccontextmanager
async def _llama(fixtures: pytest.FixtureRequest, *, silent: bool) -> AsyncIterator[Generator]:
    """Silent: its only slot is taken by an answer without end."""
    pytest.importorskip("xllamacpp", reason="xllamacpp is not here: pip install 'ragstone[llama]'")
    from ragstone.adapters.llama_engine import LlamaServer  # noqa: PLC0415
    from ragstone.adapters.llama_generator import LlamaGenerator  # noqa: PLC0415

    folder: Path = fixtures.getfixturevalue("tmp_path")
    model = write_tiny_llama(folder / "tiny.gguf", endless=silent, trained=2**17)
    generator = LlamaGenerator(LlamaServer(model, context_window=2**17 if silent else 4096, slots=1 if silent else 2, threads=1))
    async with aclosing(generator.stream(request("For ever?", (), max_tokens=2**17, timeout=600.0))) as endless:
        if silent:
            await anext(endless)
        yield generator
    await generator.close()


@pytest.fixture(scope="module")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bool], str]]:
    """The address of `ragstone serve-generation`, a process with a model that ends its answers or does not."""
    with ExitStack() as stack:

        @cache
        def url(endless: bool) -> str:
            folder = tmp_path_factory.mktemp("service")
            model = write_tiny_llama(folder / "tiny.gguf", endless=endless, trained=2**17)
            window = 2**17 if endless else 4096
            variables = {
                "MODEL": str(model),
                "CONTEXT_WINDOW": str(window),
                "MAX_TOKENS": str(window),
                "RUNNING": "1" if endless else "2",
                **_ONE_THREAD,
            }
            return stack.enter_context(serving(folder, variables)).url

        yield url


@asynccontextmanager
async def _service(fixtures: pytest.FixtureRequest, *, silent: bool) -> AsyncIterator[Generator]:
    """Through the adapter of OpenAI's protocol. Silent: as `_llama`."""
    url: Callable[[bool], str] = fixtures.getfixturevalue("service_url")
    generator = OpenAIGenerator(f"{url(silent)}/v1", "tiny")
    async with aclosing(generator.stream(request("For ever?", (), max_tokens=2**17, timeout=600.0))) as endless:
        if silent:
            await anext(endless)
        yield generator
    await generator.aclose()


@asynccontextmanager
async def _extractive(_: pytest.FixtureRequest, *, silent: bool) -> AsyncIterator[Generator]:
    yield ExtractiveGenerator(SilentEmbeddingModel() if silent else HashingEmbeddingModel())


@asynccontextmanager
async def _openai(_: pytest.FixtureRequest, *, silent: bool) -> AsyncIterator[Generator]:
    async with chat_server(hang if silent else quote) as server:
        generator = OpenAIGenerator(server.base_url, "m")
        yield generator
        await generator.aclose()


@asynccontextmanager
async def _scripted(_: pytest.FixtureRequest, *, silent: bool) -> AsyncIterator[Generator]:
    yield ScriptedGenerator(["Quartz "], blocks=True) if silent else ScriptedGenerator()


ADAPTERS = {"extractive": _extractive, "openai": _openai, "llama": _llama, "service": _service, "scripted": _scripted}
PARAMETERS = [pytest.param(name, marks=[pytest.mark.servers] if name == "service" else []) for name in ADAPTERS]


@pytest.fixture(params=PARAMETERS)
async def generator(request: pytest.FixtureRequest) -> AsyncIterator[Generator]:
    async with ADAPTERS[request.param](request, silent=False) as made:
        yield made


@pytest.fixture(params=PARAMETERS)
async def silent(request: pytest.FixtureRequest) -> AsyncIterator[Generator]:
    """One whose engine stops answering."""
    async with ADAPTERS[request.param](request, silent=True) as made:
        yield made


async def _all(generator: Generator, asked: GenerationRequest) -> list[GenerationEvent]:
    async with asyncio.timeout(60):
        return [event async for event in generator.stream(asked)]


def _whole(events: Sequence[GenerationEvent]) -> tuple[str, GenerationEvent]:
    """The text and the end: where a text is cut into pieces follows from when they come."""
    return "".join(event.text for event in events if isinstance(event, GeneratedText)), events[-1]


async def test_text_comes_first_and_one_finish_last(generator: Generator) -> None:
    *pieces, last = await _all(generator, ASK)
    assert pieces
    assert all(isinstance(piece, GeneratedText) and piece.text for piece in pieces)
    assert isinstance(last, GenerationFinished)
    assert last.usage.prompt_tokens > 0
    assert last.usage.completion_tokens > 0


async def test_the_same_request_twice_gives_the_same_answer(generator: Generator) -> None:
    assert _whole(await _all(generator, ASK)) == _whole(await _all(generator, ASK))


async def test_streams_side_by_side_do_not_mix(generator: Generator) -> None:
    alone = _whole(await _all(generator, ASK))
    assert list(map(_whole, await asyncio.gather(*(_all(generator, ASK) for _ in range(4))))) == [alone] * 4


async def test_passages_are_cited_by_number(generator: Generator) -> None:
    text, _ = _whole(await _all(generator, ASK))
    assert "[1]" in text


async def test_closing_early_is_clean_and_leaves_it_usable(generator: Generator) -> None:
    async with aclosing(generator.stream(ASK)) as events:
        assert isinstance(await anext(events), GeneratedText)
    assert len(await _all(generator, ASK)) > 1


async def test_silence_beyond_the_timeout_is_unavailable(silent: Generator) -> None:
    with pytest.raises(Unavailable):
        await _all(silent, request("What is quartz?", FOUND, timeout=0.05))


async def test_cancelling_a_waiting_stream_ends_it(silent: Generator) -> None:
    task = asyncio.ensure_future(_all(silent, ASK))
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 1)


async def test_one_that_is_there_says_so(generator: Generator) -> None:
    await generator.check()


async def test_tokens_grow_with_the_text(generator: Generator) -> None:
    assert generator.count_tokens("") == 0
    assert 0 < generator.count_tokens("Quartz.") < generator.count_tokens("Quartz is a mineral made of silica.")
    assert generator.context_window > generator.count_tokens("Quartz is a mineral.")


async def test_identity_is_stable(generator: Generator) -> None:
    assert generator.identity == generator.identity
    assert generator.identity.kind
    assert generator.identity.name
