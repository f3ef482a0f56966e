"""The generation service over models of the registry, with a stand-in for vLLM's program: how it changes over, and what it says when it does not."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save

from ragstone.adapters.kept_engine import KeptEngine
from ragstone.bootstrap.generation_service import ServedGenerator
from ragstone.bootstrap.registry import content_of, model_registry
from ragstone.domain.errors import Forbidden, InvalidInput, NotFound
from ragstone.services.generation.app import create_app
from ragstone.services.generation.chat import Chat
from ragstone.services.generation.serving import Serving, new_serving
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from tests.support.server import running
from tests.support.tiny_llama import write_tiny_llama
from tests.support.vllm_stand_in import ENDLESS, write_stand_in

_PATIENCE = 120.0  # seconds
CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.adapters.kept_engine._LOOK", 0.05)
    monkeypatch.setattr("ragstone.adapters.kept_engine._WATCH", 0.05)
    monkeypatch.setattr("ragstone.adapters.kept_engine._FIRST_PAUSE", 0.05)


def configured(tmp_path: Path, poll_seconds: float = 3_600, **service: object) -> Settings:
    """A test looks when it wants to, unless it says `poll_seconds`."""
    return load_settings(
        data_dir=tmp_path / "data",
        models=tmp_path / "cache",
        model_registry={"poll_seconds": poll_seconds},
        generation_service={"model": "models:/chat@champion", **service},
    )


def with_vllm(tmp_path: Path, **service: Any) -> Settings:
    engine = {"kind": "vllm", "python": str(write_stand_in(tmp_path / "python"))}
    return configured(tmp_path, engine=engine, **service)


async def registered(settings: Settings, source: Path) -> int:
    content, root = await asyncio.to_thread(content_of, settings, str(source), "generator", "MIT")
    async with model_registry(settings) as registry:
        return (await registry.register("chat", content, root, "ada")).number


async def point(settings: Settings, number: int) -> None:
    async with model_registry(settings) as registry:
        await registry.move_alias("chat", "champion", number)


def directory(path: Path, weight: float) -> Path:
    """A model of one weight, for a program that reads none."""
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(save({"w": np.array([weight], np.float32)}))
    return path


async def two_versions(settings: Settings, tmp_path: Path) -> None:
    for number in (1, 2):
        await registered(settings, directory(tmp_path / str(number) / "chat", number))
    await point(settings, 1)


@dataclass
class Service:
    client: httpx.AsyncClient
    serving: Serving
    model: ServedGenerator

    async def look(self) -> bool:
        [follower] = self.serving.followers
        return await follower.look()  # type: ignore[attr-defined, no-any-return]

    async def version(self) -> str:
        answer = await self.client.post(CHAT, json={"model": "chat", "messages": [{"role": "user", "content": "?"}], "stream": True})
        assert answer.status_code == 200, answer.text
        return str(answer.headers["X-Ragstone-Model-Version"])

    async def degraded(self) -> list[str]:
        answer = await self.client.get("/readyz")
        assert answer.status_code == 200
        return [told["reason"] for told in answer.json()["degraded"]]

    @property
    def engine(self) -> KeptEngine:
        assert isinstance(self.serving.engine, KeptEngine)
        return self.serving.engine


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        model = ServedGenerator(settings)
        stack.push_async_callback(model.close)
        serving = new_serving(settings, await model.engine())
        stack.push_async_callback(serving.engines.close)
        await serving.engine.start()
        await serving.engine.ready()
        stack.push_async_callback(model.stop)
        serving.followers = model.follow(serving.engines)
        address = await stack.enter_async_context(running(create_app(serving, None, Chat(serving))))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=_PATIENCE))
        yield Service(client, serving, model)


def starts(tmp_path: Path) -> int:
    return len((tmp_path / "started").read_text().splitlines()) // 2


async def test_a_new_version_comes_up_beside_the_old_one_which_ends_its_answers_and_then_itself(tmp_path: Path) -> None:
    settings = with_vllm(tmp_path, two_engines=True)
    await two_versions(settings, tmp_path)
    async with service(settings) as own, AsyncExitStack() as stack:
        old = own.engine
        body = {"model": "chat", "messages": [{"role": "user", "content": ENDLESS}], "stream": True}
        endless = await stack.enter_async_context(own.client.stream("POST", CHAT, json=body))
        pieces = endless.aiter_bytes()
        await anext(pieces)
        await point(settings, 2)
        looking = asyncio.create_task(own.look())
        async with asyncio.timeout(_PATIENCE):
            while await own.version() != "2":
                pass
        assert endless.headers["X-Ragstone-Model-Version"] == "1"
        assert await anext(pieces)
        pid = old.pid
        assert pid not in (None, own.engine.pid)
        await endless.aclose()
        assert await asyncio.wait_for(looking, _PATIENCE)
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid or 0), 0)
        assert (await own.degraded(), starts(tmp_path)) == ([], 2)


async def test_where_two_may_not_be_in_memory_it_says_what_it_does_not_serve(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = with_vllm(tmp_path)  # the default with vLLM: a model may fill the GPU
    await two_versions(settings, tmp_path)
    async with service(settings) as own:
        await point(settings, 2)
        assert not await own.look()
        [told] = await own.degraded()
        assert "it means models:/chat/2 now" in told
        assert "two engines may not be in memory at once (generation_service.two_engines)" in told
        assert "models:/chat/1 goes on serving" in told
        assert await own.version() == "1"
        metrics = (await own.client.get("/metrics")).text
        assert 'ragstone_model_behind{model="models:/chat@champion"} 1.0' in metrics
        assert 'ragstone_model_version{model="models:/chat@champion"} 1.0' in metrics
        assert 'ragstone_model_changes_total{model="models:/chat@champion",outcome="told"}' in metrics
        assert "it means models:/chat/2 now" in caplog.text
        assert starts(tmp_path) == 1
    async with service(settings) as own:  # started again, it takes it
        assert (await own.version(), await own.degraded()) == ("2", [])


async def test_what_can_not_serve_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    settings = with_vllm(tmp_path, two_engines=True)
    await two_versions(settings, tmp_path)
    async with service(settings) as own:

        async def told_of(number: int) -> str:
            await point(settings, number)
            assert not await own.look()
            assert await own.version() == "1"
            [told] = await own.degraded()
            return told

        (tmp_path / "broken").touch()  # the program ends at once
        assert "models:/chat/2 is refused: The engine ended with status 3" in await told_of(2)
        (tmp_path / "broken").unlink()
        (tmp_path / "gguf" / "chat").mkdir(parents=True)
        gguf = await registered(settings, write_tiny_llama(tmp_path / "gguf" / "chat" / "chat.gguf").parent)
        assert "no .safetensors file" in await told_of(gguf)
        renamed = await registered(settings, directory(tmp_path / "renamed" / "other", 3))
        assert "It would be called other, and requests call chat" in await told_of(renamed)
        missing = await registered(settings, directory(tmp_path / "missing" / "chat", 4))
        (tmp_path / "data" / "models" / "chat" / str(missing) / "files" / "model.safetensors").unlink()
        assert f"models:/chat/{missing}" in await told_of(missing)
        tampered = await registered(settings, directory(tmp_path / "tampered" / "chat", 5))
        (tmp_path / "data" / "models" / "chat" / str(tampered) / "files" / "model.safetensors").write_bytes(
            save({"w": np.array([6.0], np.float32)})
        )
        assert "is not the file that was registered" in await told_of(tampered)
        async with model_registry(settings) as registry:
            await registry.drop_alias("chat", "champion")
        assert not await own.look()
        assert "chat has no alias 'champion'" in (await own.degraded())[0]
        assert starts(tmp_path) == 2  # the first, and the one that ended at once


async def test_pickled_weights_are_not_even_registered(tmp_path: Path) -> None:
    weights = directory(tmp_path / "chat", 1) / "pytorch_model.bin"
    weights.write_bytes(pickle.dumps([1.0]))
    with pytest.raises(InvalidInput, match="can run code"):
        await registered(configured(tmp_path), weights.parent)


async def test_an_old_engine_that_dies_while_the_next_one_loads_is_replaced_all_the_same(tmp_path: Path) -> None:
    settings = with_vllm(tmp_path, two_engines=True)
    await two_versions(settings, tmp_path)
    async with service(settings) as own:
        await point(settings, 2)
        looking = asyncio.create_task(own.look())
        async with asyncio.timeout(_PATIENCE):
            while starts(tmp_path) < 2:  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.01)
        os.kill(int(own.engine.pid or 0), signal.SIGKILL)
        assert await asyncio.wait_for(looking, _PATIENCE)
        assert await own.version() == "2"


async def test_a_stop_while_the_next_one_loads_ends_it_and_leaves_the_old_one_to_its_answers(tmp_path: Path) -> None:
    settings = with_vllm(tmp_path, two_engines=True, poll_seconds=0.1)
    await two_versions(settings, tmp_path)
    async with service(settings) as own:
        await point(settings, 2)
        async with asyncio.timeout(_PATIENCE):
            while starts(tmp_path) < 2:  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.01)
        own.model.end()
        await asyncio.wait_for(own.model.stop(), _PATIENCE)
        assert await own.version() == "1"
        assert await asyncio.to_thread(programs, tmp_path) == [own.engine.pid]


def programs(tmp_path: Path) -> list[int]:
    """Processes of the stand-in."""

    def runs(path: Path) -> bool:
        try:
            return str(tmp_path / "python").encode() in path.read_bytes()
        except OSError:
            return False

    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if runs(path)]


@pytest.mark.parametrize(
    ("model", "two_engines", "kind"),
    [
        ("models:/chat@champion", None, "LlamaProcess"),
        ("models:/chat@champion", True, "LlamaProcess"),
        ("models:/chat@champion", False, "LlamaEngine"),
        ("models:/chat/1", None, "LlamaEngine"),
        ("chat.gguf", True, "LlamaEngine"),
    ],
)
async def test_llama_cpp_has_a_process_of_its_own_only_where_another_may_come(
    model: str, two_engines: bool | None, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not here: pip install 'ragstone[llama]'")
    monkeypatch.chdir(tmp_path)
    settings = configured(tmp_path, model=model, two_engines=two_engines)
    await registered(settings, write_tiny_llama(tmp_path / "chat.gguf"))
    await point(settings, 1)
    served = ServedGenerator(settings)
    engine = await served.engine()
    assert type(engine).__name__ == kind
    assert engine.names == ("chat",)
    await engine.close()
    await served.close()


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        (None, InvalidInput, "say which model to serve"),
        ("models:/nobody@champion", NotFound, r"generation_service\.model: there is no registered model 'nobody'"),
        ("models:/chat@champion", Forbidden, r"generation_service\.model: chat\.gguf of models:/chat/1 is not the file"),
    ],
)
async def test_it_does_not_start_without_a_model_that_can_serve(model: Any, error: type[Exception], says: str, tmp_path: Path) -> None:
    settings = configured(tmp_path, model=model)
    await registered(settings, write_tiny_llama(tmp_path / "chat.gguf"))
    await point(settings, 1)
    stored = tmp_path / "data" / "models" / "chat" / "1" / "files" / "chat.gguf"
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    served = ServedGenerator(settings)
    with pytest.raises(error, match=says):
        await served.engine()
    await served.close()
