"""The service that runs a generative model for others: `ragstone serve-generation`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ragstone.settings.stores import Section


class LlamaCppEngine(Section):
    """A GGUF model in the service's own process, on a CPU; needs the extra `llama`."""

    kind: Literal["llama.cpp"] = "llama.cpp"
    threads: int = Field(default=0, ge=0, description="of the engine; 0: as many as cores, or as the container's CPU limit")


class VllmEngine(Section):
    """vLLM's API server as a process behind the service. Each setting is the flag of vLLM of that name; unset: vLLM's own default."""

    kind: Literal["vllm"]
    python: str = Field(default="python3", min_length=1, description="the interpreter that has vLLM")
    tensor_parallel_size: int = Field(default=1, ge=1, le=64, description="GPUs that share the model")
    quantization: str | None = Field(
        default=None, pattern=r"^[a-z0-9_-]+$", description="method, for example awq or fp8; unset: as the model says"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None = Field(default=None, description="of weights and activations")
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1, description="share of each GPU's memory")
    prefix_caching: bool | None = Field(default=None, description="keep what prompts have in common")
    lora: dict[str, Path] = Field(default={}, description="adapters by the name that requests call them: directories with safetensors")
    arguments: dict[str, str | int | float | bool] = Field(
        default={}, description="further flags, of those that are allowed, without dashes"
    )
    startup_seconds: float = Field(default=1_800.0, gt=0, description="until it answers; then it is started again")
    silent_seconds: float = Field(default=120.0, gt=0, description="with work and without a word; then it is started again")


class GenerationService(Section):
    """`ragstone serve-generation`, on `host`, with the keys of `api_keys_file`."""

    port: int = Field(default=8645, ge=0, le=65535, description="of `ragstone serve-generation`; 0: any free one")
    model: str | None = Field(
        default=None, description="a file or directory, models:/<name>@<alias> of the registry, or for vLLM a name at the Hub"
    )
    revision: str | None = Field(default=None, description="of a model at the Hub: a commit")
    name: str | None = Field(default=None, min_length=1, description="as requests call it; unset: the file's or directory's own")
    digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 that its weights must have; unset: any")
    context_window: int | None = Field(
        default=None, ge=512, description="tokens of prompt and answer together; unset: 4096 for llama.cpp, the model's for vLLM"
    )
    two_engines: bool | None = Field(
        default=None,
        description="whether a new version of an alias may be loaded beside the one that serves, and take its place; unset: with llama.cpp yes, with vLLM no",
    )
    running: int = Field(default=4, ge=1, le=4_096, description="answers made at once")
    waiting: int = Field(default=32, ge=0, le=100_000, description="that may wait for one of those; more are refused with 429")
    max_tokens: int = Field(default=4_096, ge=1, description="of one answer")
    answer_seconds: float = Field(default=600.0, gt=0, le=86_400, description="that one answer may take, waiting included")
    piece_seconds: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="of a stream: tokens that come within so many are sent together (up to 0.25 while many are answered at once); 0: each by itself",
    )
    engine: Annotated[LlamaCppEngine | VllmEngine, Field(discriminator="kind")] = LlamaCppEngine()
