"""llama.cpp in this process: which files it takes, who may use its port, and what ends its work."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

pytest.importorskip("xllamacpp", reason="xllamacpp is not here: pip install 'ragstone[llama]'")

from ragstone.adapters.llama_engine import LlamaServer
from ragstone.adapters.llama_generator import LlamaGenerator
from ragstone.domain.errors import InvalidInput, NotFound
from ragstone.domain.generation import GeneratedText
from tests.support.passages import passages, request
from tests.support.tiny_llama import write_tiny_llama

_PATIENCE = 60.0  # seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """Its model never ends by itself."""
    path = write_tiny_llama(tmp_path_factory.mktemp("model") / "tiny.gguf", endless=True, trained=2**16)
    made = LlamaServer(path, context_window=2**20, slots=2, threads=1)
    yield made
    made.close()


@pytest.fixture
async def generator(server: LlamaServer) -> AsyncIterator[LlamaGenerator]:
    made = LlamaGenerator(server)
    yield made
    await made._endpoint.aclose()  # the server is the module's


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1.0]}))


def _zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))


def _text(path: Path) -> None:
    path.write_text("no model")


def _cut(path: Path) -> None:
    write_tiny_llama(path)
    path.write_bytes(path.read_bytes()[:100_000])


def _broken(path: Path) -> None:
    write_tiny_llama(path, broken=True)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (_pickled, "pickled weights"),
        (_zipped, "pickled weights"),
        (_text, "not a GGUF file"),
        (_cut, "can't load it"),
        (_broken, "can't load it"),
    ],
)
def test_what_is_no_sound_gguf_is_refused(write: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    write(tmp_path / "model.gguf")
    with pytest.raises(InvalidInput, match=says) as raised:
        LlamaServer(tmp_path / "model.gguf", threads=1)
    assert str(tmp_path) not in raised.value.message


def test_a_directory_is_searched_and_must_hold_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        LlamaServer(tmp_path / "nowhere", threads=1)
    with pytest.raises(InvalidInput, match="must hold one"):
        LlamaServer(tmp_path, threads=1)
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    server = LlamaServer(tmp_path, threads=1)
    server.close()
    assert (server.name, server.digest) == ("tiny", hashlib.sha256(path.read_bytes()).hexdigest())


def test_another_digest_is_refused(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    with pytest.raises(InvalidInput, match="nothing is loaded"):
        LlamaServer(path, digest="0" * 64, threads=1)


def test_its_port_is_on_loopback_and_wants_the_key(server: LlamaServer) -> None:
    assert httpx.URL(server.base_url).host == "127.0.0.1"
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    with httpx.Client(base_url=server.base_url, timeout=_PATIENCE, trust_env=False) as client:
        for path in ("/v1/models", "/metrics", "/props", "/lora-adapters"):
            assert client.get(path).status_code == 401, path
        assert client.post("/v1/chat/completions", json=body).status_code == 401
        assert client.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {server.key}"}).is_success


def test_the_context_window_is_no_wider_than_the_model_was_trained_for(server: LlamaServer) -> None:
    assert server.context_window == 2**16


async def test_a_prompt_longer_than_the_context_is_a_clear_refusal(generator: LlamaGenerator) -> None:
    with pytest.raises(InvalidInput, match="longer than the generator's context"):
        _ = [event async for event in generator.stream(request("?" * 70_000, (), timeout=_PATIENCE))]


@pytest.mark.parametrize("cancelled", [False, True], ids=["closed", "cancelled"])
async def test_an_answer_nobody_waits_for_ends_in_the_engine(generator: LlamaGenerator, server: LlamaServer, *, cancelled: bool) -> None:
    begun = asyncio.Event()

    async def read(*, on: bool) -> None:
        async with aclosing(generator.stream(request("For ever?", passages("Quartz."), max_tokens=60_000, timeout=_PATIENCE))) as events:
            assert isinstance(await anext(events), GeneratedText)
            begun.set()
            async for _ in events:
                if not on:
                    return

    reading = asyncio.create_task(read(on=cancelled))
    await asyncio.wait_for(begun.wait(), _PATIENCE)
    assert cancelled is False or await _processing(server) == 1
    if cancelled:
        reading.cancel()
    await asyncio.wait([reading])
    async with asyncio.timeout(_PATIENCE):
        while await _processing(server):  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.01)


async def _processing(server: LlamaServer) -> int:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {server.key}"}, timeout=_PATIENCE, trust_env=False) as client:
        text = (await client.get(f"{server.base_url}/metrics")).text
    [line] = [line for line in text.splitlines() if line.startswith("llamacpp:requests_processing ")]
    return int(line.split()[1])
