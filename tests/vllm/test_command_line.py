"""The command line against vLLM's own parser."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ragstone.adapters.vllm_arguments import ALLOWED, VllmOptions, arguments

ROOT = Path(__file__).parents[2]
SOCKET = Path("/run/s")
PLAIN = VllmOptions("org/model", "served")
FULL = VllmOptions(
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
    lora={"legal": Path("/models/legal"), "medical": Path("/models/medical")},
    more={
        "block-size": 16,
        "cpu-offload-gb": 1,
        "enable-chunked-prefill": True,
        "enforce-eager": True,
        "generation-config": "vllm",
        "kv-cache-dtype": "fp8",
        "max-lora-rank": 16,
        "max-loras": 2,
        "max-num-batched-tokens": 4096,
        "pipeline-parallel-size": 2,
        "seed": 7,
    },
)


@pytest.fixture(scope="module")
def parsed(python: Path) -> list[Any]:
    """The flags that it knows, then what it makes of each list."""
    lists = [arguments(PLAIN, SOCKET), arguments(FULL, SOCKET), ["--no-such-flag", "1"]]
    done = subprocess.run(
        [python, "-m", "tests.vllm.parse"], input=json.dumps(lists), cwd=ROOT, check=True, capture_output=True, text=True, timeout=600
    )
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_flag_is_one_of_its_own(parsed: list[Any]) -> None:
    known, *_ = parsed
    used = {word for word in [*arguments(PLAIN, SOCKET), *arguments(FULL, SOCKET)] if word.startswith("--")}
    assert used <= set(known)
    assert {f"--{name}" for name in ALLOWED} <= set(known)
    assert set(FULL.more) == ALLOWED, "each further flag is tried here"


def test_it_understands_what_is_meant(parsed: list[Any]) -> None:
    _, plain, full, _ = parsed
    same = {
        "model": "org/model",
        "served_model_name": "['served']",
        "uds": "/run/s",
        "load_format": "safetensors",
        "trust_remote_code": False,
    }
    for found in (plain, full):
        assert same.items() <= found.items()
        assert found["enable_log_requests"] is False
        assert found["disable_uvicorn_access_log"] is True
    assert {
        "revision": "abc",
        "max_num_seqs": 8,
        "max_model_len": 2048,
        "tensor_parallel_size": 2,
        "quantization": "awq",
        "dtype": "float16",
        "gpu_memory_utilization": 0.8,
        "enable_prefix_caching": True,
        "enable_lora": True,
        "enforce_eager": True,
        "max_loras": 2,
        "max_lora_rank": 16,
        "kv_cache_dtype": "fp8",
        "seed": 7,
        "pipeline_parallel_size": 2,
        "max_num_batched_tokens": 4096,
    }.items() <= full.items()
    assert "legal" in full["lora_modules"]
    assert "/models/medical" in full["lora_modules"]


def test_a_flag_that_it_does_not_know_would_show(parsed: list[Any]) -> None:
    assert "no-such-flag" in parsed[-1]["error"]
