"""The contract of `GenerationEngine`, over llama.cpp, vLLM's process (a stand-in for the program) and the fake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ragstone.adapters.llama_process import LlamaProcess
from ragstone.adapters.vllm_arguments import VllmOptions
from ragstone.adapters.vllm_engine import VllmEngine
from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.ports.generation_engine import EngineReply, GenerationEngine
from tests.fakes.generation_engine import ScriptedEngine
from tests.support.tiny_llama import write_tiny_llama
from tests.support.vllm_stand_in import write_stand_in

_PATIENCE = 60.0  # seconds
_MANY = 2**14  # tokens


@asynccontextmanager
async def _llama(folder: Path, *, endless: bool = False, broken: bool = False) -> AsyncIterator[GenerationEngine]:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not here: pip install 'ragstone[llama]'")
    from ragstone.adapters.llama_engine import LlamaEngine  # noqa: PLC0415

    path = write_tiny_llama(folder / "tiny.gguf", endless=endless, trained=_MANY, broken=broken)
    yield LlamaEngine(path, name="tiny", version="3", context_window=_MANY, slots=2, waiting=4, threads=1, digest=None)


@asynccontextmanager
async def _llama_process(folder: Path, *, endless: bool = False, broken: bool = False) -> AsyncIterator[GenerationEngine]:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not here: pip install 'ragstone[llama]'")
    path = write_tiny_llama(folder / "tiny.gguf", endless=endless, trained=_MANY, broken=broken)
    yield LlamaProcess(path, name="tiny", version="3", context_window=_MANY, slots=2, waiting=4, threads=1, digest=None)


@asynccontextmanager
async def _vllm(folder: Path, *, endless: bool = False, broken: bool = False) -> AsyncIterator[GenerationEngine]:
    model = folder / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    if broken:
        (folder / "broken").touch()
    yield VllmEngine(VllmOptions(str(model), "tiny"), python=str(write_stand_in(folder / "python")), version="3", startup=_PATIENCE)


@asynccontextmanager
async def _scripted(folder: Path, *, endless: bool = False, broken: bool = False) -> AsyncIterator[GenerationEngine]:
    yield ScriptedEngine(blocks=endless, fails="ended" if broken else "")


ADAPTERS = {"llama.cpp": _llama, "llama.cpp, a process": _llama_process, "vllm": _vllm, "scripted": _scripted}


async def _started(engine: GenerationEngine) -> GenerationEngine:
    await engine.start()
    async with asyncio.timeout(_PATIENCE):
        await engine.ready()
    await engine.check()
    return engine


@pytest.fixture(params=ADAPTERS)
async def unstarted(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[GenerationEngine]:
    async with ADAPTERS[request.param](tmp_path, endless=False) as made:
        yield made
        await made.close()


@pytest.fixture
async def engine(unstarted: GenerationEngine) -> GenerationEngine:
    return await _started(unstarted)


@pytest.fixture(params=ADAPTERS)
async def endless(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[GenerationEngine]:
    """One whose answers don't end by themselves."""
    async with ADAPTERS[request.param](tmp_path, endless=True) as made:
        yield await _started(made)
        await made.close()


def _body(engine: GenerationEngine, text: str = "For ever?", *, stream: bool = True) -> bytes:
    form = {"model": engine.model.name, "messages": [{"role": "user", "content": text}], "max_tokens": _MANY, "stream": stream}
    return json.dumps(form).encode()


async def _all(reply: EngineReply) -> bytes:
    async with asyncio.timeout(_PATIENCE):
        try:
            return b"".join([piece async for piece in reply.pieces()])
        finally:
            await reply.aclose()


def _said(stream: bytes) -> str:
    events = [json.loads(line[5:]) for line in stream.split(b"\n") if line.startswith(b"data:") and not line.endswith(b"[DONE]")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


async def _running(engine: GenerationEngine) -> int:
    """As the engine's own metrics tell."""
    names = ("llamacpp:requests_processing ", "vllm:num_requests_running ", "scripted:running ")
    [line] = [line for line in (await engine.metrics()).splitlines() if line.startswith(names)]
    return int(line.split()[1])


async def _becomes_idle(engine: GenerationEngine) -> None:
    async with asyncio.timeout(_PATIENCE):
        while await _running(engine):  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.02)


async def test_before_it_is_started_it_is_not_there(unstarted: GenerationEngine) -> None:
    with pytest.raises(Unavailable) as checked:
        await unstarted.check()
    assert checked.value.retry_after
    with pytest.raises(Unavailable) as asked:
        await unstarted.chat(_body(unstarted))
    assert asked.value.retry_after
    assert await unstarted.metrics() == ""


async def test_a_stream_comes_in_pieces_and_ends(engine: GenerationEngine) -> None:
    reply = await engine.chat(_body(engine, "What is quartz?"))
    assert (reply.status, reply.content_type.partition(";")[0]) == (200, "text/event-stream")
    text = await _all(reply)
    assert b"Quartz" in text
    assert text.endswith(b"data: [DONE]\n\n")


async def test_what_comes_within_a_while_is_given_together_and_the_end_is_not_held_up(engine: GenerationEngine) -> None:
    said = _said(await _all(await engine.chat(_body(engine, "What is quartz?"))))
    reply = await engine.chat(_body(engine, "What is quartz?"))
    async with asyncio.timeout(_PATIENCE):
        pieces = [piece async for piece in reply.pieces(10 * _PATIENCE)]
    await reply.aclose()
    assert _said(b"".join(pieces)) == said
    assert len(pieces) <= 4  # two at once, the one after them, and the rest


async def test_the_first_words_are_not_held_up(endless: GenerationEngine) -> None:
    reply = await endless.chat(_body(endless, "Tell me a long story."))
    pieces = reply.pieces(10 * _PATIENCE)
    async with asyncio.timeout(_PATIENCE):
        said = await anext(pieces) + await anext(pieces)
    await reply.aclose()
    assert b"data: {" in said


async def test_an_answer_at_once_is_json(engine: GenerationEngine) -> None:
    reply = await engine.chat(_body(engine, "What is quartz?", stream=False))
    assert reply.content_type.startswith("application/json")
    assert "[1]" in json.loads(await _all(reply))["choices"][0]["message"]["content"]


async def test_a_prompt_beyond_the_context_is_refused_with_400(engine: GenerationEngine) -> None:
    reply = await engine.chat(_body(engine, "?" * 20_000))
    assert reply.status == 400
    assert "context" in json.loads(await _all(reply))["error"]["message"]
    await engine.check()


async def test_it_names_its_model(engine: GenerationEngine) -> None:
    assert engine.model.name in engine.names
    assert engine.model.version
    assert len(engine.model.digest) == 64
    assert engine.lost is False


async def test_a_closed_reply_frees_its_slot(endless: GenerationEngine) -> None:
    for _ in range(4):  # more than there are slots
        reply = await endless.chat(_body(endless))
        pieces = aiter(reply.pieces())
        async with asyncio.timeout(_PATIENCE):
            await anext(pieces)
        assert await _running(endless) == 1
        await reply.aclose()
        await reply.aclose()
        await _becomes_idle(endless)


async def test_a_reply_closed_unread_frees_its_slot(endless: GenerationEngine) -> None:
    reply = await endless.chat(_body(endless))
    await reply.aclose()
    await _becomes_idle(endless)


async def test_a_cancelled_reader_frees_its_slot(endless: GenerationEngine) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        reply = await endless.chat(_body(endless))
        try:
            async for _ in reply.pieces():
                begun.set()
        finally:
            await reply.aclose()

    reading = asyncio.create_task(read())
    await asyncio.wait_for(begun.wait(), _PATIENCE)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await _becomes_idle(endless)


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_one_that_does_not_come_up_says_so_and_leaves_nothing_behind(adapter: str, tmp_path: Path) -> None:
    async with ADAPTERS[adapter](tmp_path, broken=True) as engine:
        with pytest.raises(InvalidInput):
            await _started(engine)
        with pytest.raises(Unavailable):
            await engine.chat(_body(engine))
        await engine.close()
        assert await engine.metrics() == ""


async def test_closed_it_is_not_there(engine: GenerationEngine) -> None:
    await engine.close()
    with pytest.raises(Unavailable):
        await engine.check()


async def test_a_model_that_is_missing_is_not_found(tmp_path: Path) -> None:
    engine = VllmEngine(VllmOptions(str(tmp_path / "nowhere"), "tiny"))
    with pytest.raises(NotFound):
        await engine.start()
    await engine.close()
