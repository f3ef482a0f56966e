"""The engine of `ragstone serve-generation`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ragstone.domain.errors import InvalidInput, NotFound
from ragstone.ports.generation_engine import GenerationEngine
from ragstone.settings import generation_service as configured
from ragstone.settings.model import Settings

_LLAMA_WINDOW = 4_096  # tokens; a model of 128,000 would take all memory for its cache


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """Where a model is: a path here, or a name at the Hub. `digest`: that it must have, None for any."""

    location: str
    version: str = ""
    digest: str | None = None


Resolver = Callable[[str], ResolvedModel]


def resolve_model(reference: str) -> ResolvedModel:
    """A path as it is, or a name at the Hub. References of the registry (`models:/<name>@<alias>`) need a resolver that asks it. Raises `InvalidInput`."""
    if reference.startswith("models:/"):
        raise InvalidInput(
            "generation_service.model: no registry is set up here; name a file or a directory.", field="generation_service.model"
        )
    return ResolvedModel(str(Path(reference).expanduser()) if reference.startswith(("~", "/", ".")) else reference)


def generation_engine(settings: Settings, resolve: Resolver = resolve_model) -> GenerationEngine:
    """The engine of the settings, not started. Blocking where `resolve` is. Raises `InvalidInput` for settings that can't be, and what `resolve` raises."""
    own = settings.generation_service
    if own.model is None:
        raise InvalidInput(
            "generation_service.model: say which model to serve: a .gguf file for llama.cpp, a directory or a name at the Hub for vLLM.",
            field="generation_service.model",
        )
    found = resolve(own.model)
    digest = own.digest or found.digest
    match own.engine:
        case configured.LlamaCppEngine() as llama:
            return _llama(own, llama, found, digest)
        case configured.VllmEngine() as vllm:
            return _vllm(own, vllm, found, digest)


def _llama(
    own: configured.GenerationService, llama: configured.LlamaCppEngine, found: ResolvedModel, digest: str | None
) -> GenerationEngine:
    try:
        from ragstone.adapters.llama_engine import LlamaEngine  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise InvalidInput(
            "generation_service.engine: llama.cpp needs the package xllamacpp, which is not here: pip install 'ragstone[llama]'.",
            field="generation_service.engine",
        ) from error
    return LlamaEngine(
        Path(found.location),
        name=own.name or Path(found.location).stem,
        version=found.version,
        context_window=own.context_window or _LLAMA_WINDOW,
        slots=own.running,
        waiting=own.waiting,
        threads=llama.threads or None,
        digest=digest,
    )


def _vllm(own: configured.GenerationService, vllm: configured.VllmEngine, found: ResolvedModel, digest: str | None) -> GenerationEngine:
    from ragstone.adapters.vllm_arguments import VllmOptions  # noqa: PLC0415 - an HTTP client is slow to import
    from ragstone.adapters.vllm_engine import VllmEngine  # noqa: PLC0415

    if Path(found.location).is_file():
        raise NotFound(
            "generation_service.model: vLLM is given a directory with safetensors, not a file.", field="generation_service.model"
        )
    options = VllmOptions(
        location=found.location,
        name=own.name or Path(found.location).name,
        revision=own.revision or "",
        running=own.running,
        max_model_len=own.context_window,
        tensor_parallel_size=vllm.tensor_parallel_size,
        quantization=vllm.quantization,
        dtype=vllm.dtype,
        gpu_memory_utilization=vllm.gpu_memory_utilization,
        prefix_caching=vllm.prefix_caching,
        lora=vllm.lora,
        more=vllm.arguments,
    )
    return VllmEngine(
        options,
        python=vllm.python,
        version=found.version or own.revision or "",
        digest=digest,
        startup=vllm.startup_seconds,
        silent=vllm.silent_seconds,
    )
