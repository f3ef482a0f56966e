"""vLLM beside vLLM: an alias moves while answers are streamed."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import httpx
import pytest

from ragstone.bootstrap.registry import content_of, model_registry
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from tests.servers.generation_service import serving
from tests.vllm.conftest import wait_until_ready

_PATIENCE = 900.0  # seconds for a start: a minute where nothing else runs
ENGINE = {"kind": "vllm", "dtype": "float32", "arguments": {"enforce-eager": True}}


async def registered(settings: Settings, model: Path, folder: Path) -> None:
    """Two versions of the same weights."""
    async with model_registry(settings) as registry:
        for number in ("1", "2"):
            copy = folder / number / "smollm2"
            await asyncio.to_thread(shutil.copytree, model, copy)
            (copy / "generation_config.json").write_text(json.dumps({"max_new_tokens": 100 * int(number)}))
            content, root = await asyncio.to_thread(content_of, settings, str(copy), "generator", "Apache-2.0")
            await registry.register("smollm2", content, root, "ada")
        await registry.move_alias("smollm2", "champion", 1)


async def test_the_new_engine_takes_over_and_no_answer_fails(python: Path, model: Path, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data", models=tmp_path / "cache")
    await registered(settings, model, tmp_path)
    variables = {
        "MODEL": "models:/smollm2@champion",
        "TWO_ENGINES": "true",
        "CONTEXT_WINDOW": "1024",
        "RUNNING": "2",
        "WAITING": "2",
        "ENGINE": json.dumps({**ENGINE, "python": str(python)}),
        "RAGSTONE_DATA_DIR": str(settings.data_dir),
        "RAGSTONE_MODELS": str(settings.models),
        "RAGSTONE_MODEL_REGISTRY__POLL_SECONDS": "1",
    }
    named: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        with serving(tmp_path, variables, "--management-port", "0") as service:
            wait_until_ready(str(service.facts["management"]))
            body = {"model": "smollm2", "messages": [{"role": "user", "content": "Tell a story."}], "max_tokens": 20, "stream": True}
            async with httpx.AsyncClient(base_url=service.url, timeout=_PATIENCE) as client:

                async def ask() -> None:
                    answer = await client.post("/v1/chat/completions", json=body)
                    assert answer.status_code == 200, answer.text
                    assert answer.text.endswith("data: [DONE]\n\n")
                    assert '"error"' not in answer.text
                    named.append(answer.headers["X-Ragstone-Model-Version"])

                await ask()
                async with model_registry(settings) as registry:
                    await registry.move_alias("smollm2", "champion", 2)
                async with asyncio.timeout(_PATIENCE):
                    while named[-1] != "2":
                        await ask()
                assert (await client.get("/readyz")).json() == {"status": "ready", "degraded": []}
    assert named == sorted(named)
