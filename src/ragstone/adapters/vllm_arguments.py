"""The command line of vLLM's API server. Flags are those of its own parser, against which `make test-vllm` checks them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ragstone.domain.errors import InvalidInput

Value = str | int | float | bool

# What settings may add. Nothing here names a file, loads code or opens a port.
ALLOWED = frozenset(
    {
        "block-size",
        "cpu-offload-gb",
        "enable-chunked-prefill",
        "enforce-eager",
        "generation-config",
        "kv-cache-dtype",
        "max-lora-rank",
        "max-loras",
        "max-num-batched-tokens",
        "pipeline-parallel-size",
        "seed",
    }
)


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """None: vLLM's own default. `location`: a directory, or a name at the Hub, then with its `revision`. `lora`: directories by name."""

    location: str
    name: str
    revision: str = ""
    running: int = 4
    max_model_len: int | None = None
    tensor_parallel_size: int = 1
    quantization: str | None = None
    dtype: str | None = None
    gpu_memory_utilization: float | None = None
    prefix_caching: bool | None = None
    lora: Mapping[str, Path] = field(default_factory=dict)
    more: Mapping[str, Value] = field(default_factory=dict)


def arguments(options: VllmOptions, socket: Path) -> list[str]:
    """What comes after `python -m vllm.entrypoints.openai.api_server`. It listens on a Unix socket: its API keys would leave some of its routes open.

    Raises `InvalidInput` for a further flag that is not allowed.
    """
    refused = sorted(set(options.more) - ALLOWED)
    if refused:
        raise InvalidInput(
            f"generation_service.engine.arguments: {', '.join(refused)[:200]} may not be set; allowed are {', '.join(sorted(ALLOWED))}.",
            field="generation_service.engine.arguments",
        )
    given: dict[str, Value | None] = {
        "model": options.location,
        "served-model-name": options.name,
        "revision": options.revision or None,
        "uds": str(socket),
        "load-format": "safetensors",  # whatever else lies there: pickled weights can run any code
        "max-num-seqs": options.running,
        "max-model-len": options.max_model_len,
        "tensor-parallel-size": options.tensor_parallel_size,
        "quantization": options.quantization,
        "dtype": options.dtype,
        "gpu-memory-utilization": options.gpu_memory_utilization,
        "enable-prefix-caching": options.prefix_caching,
        "trust-remote-code": False,
        "enable-log-requests": False,
        "disable-uvicorn-access-log": True,
        "disable-fastapi-docs": True,
        **options.more,
    }
    words: list[str] = []
    for name, value in given.items():
        words += _flag(name, value)
    if options.lora:
        words += [
            "--enable-lora",
            "--lora-modules",
            *(json.dumps({"name": name, "path": str(path)}) for name, path in options.lora.items()),
        ]
    return words


def command(python: str, options: VllmOptions, socket: Path) -> Sequence[str]:
    """The whole command."""
    return [python, "-m", "vllm.entrypoints.openai.api_server", *arguments(options, socket)]


def _flag(name: str, value: Value | None) -> list[str]:
    match value:
        case None:
            return []
        case True:
            return [f"--{name}"]
        case False:
            return [f"--no-{name}"]
        case _:
            return [f"--{name}", str(value)]
