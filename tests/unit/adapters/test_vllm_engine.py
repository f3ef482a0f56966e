"""vLLM's process: its command line, what it may load, and what happens when it dies or hangs. The program is a stand-in; `make test-vllm` runs vLLM itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ragstone.adapters import kept_engine
from ragstone.adapters.vllm_arguments import ALLOWED, VllmOptions, arguments
from ragstone.adapters.vllm_engine import VllmEngine
from ragstone.adapters.vllm_model_files import checked_directory
from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.telemetry.generation_metrics import ENGINE_RESTARTS
from tests.support.vllm_stand_in import ENDLESS, SILENT, write_stand_in

_PATIENCE = 60.0  # seconds


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_engine, "_LOOK", 0.05)
    monkeypatch.setattr(kept_engine, "_WATCH", 0.05)
    monkeypatch.setattr(kept_engine, "_FIRST_PAUSE", 0.05)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "config.json").write_text("{}")
    return made


@asynccontextmanager
async def engine_of(model: Path, **changes: Any) -> AsyncIterator[VllmEngine]:
    options = VllmOptions(str(model), "tiny", **changes.pop("options", {}))
    engine = VllmEngine(options, python=str(write_stand_in(model.parent / "python")), **{"startup": _PATIENCE, **changes})
    try:
        yield engine
    finally:
        await engine.close()


async def becomes(state: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not state():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.02)


async def up(engine: VllmEngine) -> None:
    async with asyncio.timeout(_PATIENCE):
        while True:
            try:
                return await engine.check()
            except Unavailable:
                await asyncio.sleep(0.02)


def starts(model: Path) -> list[tuple[list[str], dict[str, str]]]:
    lines = [json.loads(line) for line in (model.parent / "started").read_text().splitlines()]
    return list(zip(lines[::2], lines[1::2], strict=True))


def test_the_command_line_says_everything_that_is_set() -> None:
    options = VllmOptions(
        "org/model",
        "served",
        revision="abc",
        running=8,
        max_model_len=2048,
        tensor_parallel_size=2,
        quantization="awq",
        dtype="float16",
        gpu_memory_utilization=0.8,
        prefix_caching=True,
        lora={"legal": Path("/models/legal")},
        more={"enforce-eager": True, "max-loras": 2},
    )
    line = " ".join(arguments(options, Path("/run/s")))
    assert line == (
        "--model org/model --served-model-name served --revision abc --uds /run/s --load-format safetensors --max-num-seqs 8 --max-model-len 2048 "
        "--tensor-parallel-size 2 --quantization awq --dtype float16 --gpu-memory-utilization 0.8 --enable-prefix-caching --no-trust-remote-code "
        "--no-enable-log-requests --disable-uvicorn-access-log --disable-fastapi-docs --enforce-eager --max-loras 2 "
        '--enable-lora --lora-modules {"name": "legal", "path": "/models/legal"}'
    )


def test_what_is_unset_is_vllms_business() -> None:
    line = arguments(VllmOptions("m", "m", prefix_caching=False), Path("/run/s"))
    assert "--no-enable-prefix-caching" in line
    for flag in ("--dtype", "--quantization", "--max-model-len", "--gpu-memory-utilization", "--revision", "--enable-lora"):
        assert flag not in line


@pytest.mark.parametrize("flag", ["trust-remote-code", "load-format", "port", "api-key", "middleware", "chat-template", "model"])
def test_flags_that_load_code_or_open_doors_are_refused(flag: str) -> None:
    with pytest.raises(InvalidInput, match="may not be set"):
        arguments(VllmOptions("m", "m", more={flag: "x"}), Path("/run/s"))
    assert flag not in ALLOWED


@pytest.mark.parametrize(("file", "says"), [("pytorch_model.bin", "pickled"), ("model.pt", "pickled"), ("model.gguf", "no .safetensors")])
async def test_a_directory_without_safetensors_starts_nothing(file: str, says: str, model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / file).write_bytes(b"weights")
    async with engine_of(model) as engine:
        with pytest.raises(InvalidInput, match=says):
            await engine.start()
        assert engine.pid is None


async def test_pickled_adapters_start_nothing(model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.bin").write_bytes(b"weights")
    async with engine_of(model, options={"lora": {"legal": adapter}}) as engine:
        assert engine.names == ("tiny", "legal")
        with pytest.raises(InvalidInput, match="pickled"):
            await engine.start()
        assert engine.pid is None


async def test_another_digest_starts_nothing(model: Path) -> None:
    async with engine_of(model, digest="0" * 64) as engine:
        with pytest.raises(InvalidInput, match="nothing is loaded"):
            await engine.start()


def test_the_digest_is_that_of_every_file(model: Path) -> None:
    before = checked_directory(model)
    assert checked_directory(model, before) == before
    (model / "config.json").write_text("{} ")
    assert checked_directory(model) != before


async def test_no_such_interpreter_is_said(model: Path) -> None:
    engine = VllmEngine(VllmOptions(str(model), "tiny"), python="/nowhere/python")
    with pytest.raises(NotFound, match="no program"):
        await engine.start()
    await engine.close()


async def test_it_gets_no_variable_of_ragstone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_GENERATOR__API_KEY", "secret")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "2")
    async with engine_of(model) as engine:
        await engine.start()
        await up(engine)
    [(line, variables)] = starts(model)
    assert line[:3] == ["-m", "vllm.entrypoints.openai.api_server", "--model"]
    assert not [name for name in variables if name.startswith("RAGSTONE_")]
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert variables["VLLM_NO_USAGE_STATS"] == "1"


async def test_one_that_dies_is_not_ready_and_is_started_again(model: Path) -> None:
    before = ENGINE_RESTARTS._value.get()
    async with engine_of(model) as engine:
        await engine.start()
        await up(engine)
        first = engine.pid
        assert first is not None
        reply = await engine.chat(json.dumps({"messages": [{"content": ENDLESS}], "stream": True}).encode())
        pieces = aiter(reply.pieces())
        await anext(pieces)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(Unavailable, match="broke off") as raised:
            async for _ in pieces:
                pass
        assert raised.value.retry_after
        await reply.aclose()
        with pytest.raises(Unavailable):
            await engine.check()
        await becomes(lambda: engine.pid not in (None, first))
        await up(engine)
        assert ENGINE_RESTARTS._value.get() == before + 1


async def test_one_that_hangs_is_killed_and_started_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.adapters.openai_engine._LOOK", 0.2)
    async with engine_of(model) as engine:
        await engine.start()
        await up(engine)
        first = engine.pid
        assert first is not None
        monkeypatch.setattr(kept_engine, "_GRACE", 0.1)
        os.kill(first, signal.SIGSTOP)
        await becomes(lambda: engine.pid not in (None, first))
        monkeypatch.setattr("ragstone.adapters.openai_engine._LOOK", 10.0)
        await up(engine)


async def test_one_that_is_late_with_its_health_refuses_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.adapters.openai_engine._LOOK", 0.1)
    monkeypatch.setattr(kept_engine, "_DEAF", 1_000_000)
    async with engine_of(model) as engine:
        await engine.start()
        await up(engine)
        os.kill(engine.pid or 0, signal.SIGSTOP)  # as on a machine that has too much to do
        await asyncio.sleep(1.0)  # several looks
        with pytest.raises(Unavailable):
            await engine.check()
        asking = asyncio.create_task(engine.chat(json.dumps({"messages": [{"content": "?"}], "stream": True}).encode()))
        await asyncio.sleep(0.1)
        os.kill(engine.pid or 0, signal.SIGCONT)
        async with asyncio.timeout(_PATIENCE):
            reply = await asking
        assert reply.status == 200
        await reply.aclose()


async def test_work_without_a_word_is_a_hang(model: Path) -> None:
    async with engine_of(model, silent=0.5) as engine:
        await engine.start()
        await up(engine)
        first = engine.pid
        with pytest.raises(Unavailable, match="broke off"):
            await engine.chat(json.dumps({"messages": [{"content": SILENT}]}).encode())
        await becomes(lambda: engine.pid not in (None, first))


async def test_a_client_that_reads_slowly_is_no_hang(model: Path) -> None:
    async with engine_of(model, silent=0.3) as engine:
        await engine.start()
        await up(engine)
        first = engine.pid
        reply = await engine.chat(json.dumps({"messages": [{"content": ENDLESS}], "stream": True}).encode())
        pieces = aiter(reply.pieces())
        await anext(pieces)
        await asyncio.sleep(1.0)  # several times what would be a hang
        assert await anext(pieces)
        assert engine.pid == first
        await reply.aclose()


async def test_one_that_does_not_come_up_is_tried_again_ever_more_seldom(model: Path) -> None:
    (model.parent / "broken").touch()
    async with engine_of(model) as engine:
        await engine.start()
        await becomes(lambda: (model.parent / "started").exists() and len(starts(model)) >= 3)
        with pytest.raises(Unavailable):
            await engine.check()
        assert engine._pause > 0.05
        (model.parent / "broken").unlink()
        await up(engine)


async def test_a_program_that_can_not_be_run_is_tried_again(model: Path) -> None:
    async with engine_of(model) as engine:
        (model.parent / "python").write_text("#!/nowhere/interpreter\n")
        await engine.start()
        await becomes(lambda: engine._pause > 0.1)
        with pytest.raises(Unavailable):
            await engine.check()
        write_stand_in(model.parent / "python")
        await up(engine)


async def test_closing_ends_the_process_and_its_folder(model: Path) -> None:
    async with engine_of(model) as engine:
        await engine.start()
        await up(engine)
        pid, folder = engine.pid, engine._folder
        assert pid is not None
        assert folder.stat().st_mode & 0o077 == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not folder.exists()
