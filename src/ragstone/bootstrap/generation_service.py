"""The engine of `ragstone serve-generation`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ragstone.bootstrap.registry import local_model_of
from ragstone.domain.errors import InvalidInput, NotFound
from ragstone.domain.registered_models import is_reference
from ragstone.ports.generation_engine import GenerationEngine
from ragstone.settings import generation_service as configured
from ragstone.settings.model import Settings

_LLAMA_WINDOW = 4_096  # tokens; a model of 128,000 would take all memory for its cache


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """Where a model is: a path here, or a name at the Hub. `version`: the registry's number, empty for what is not from there."""

    location: str
    version: str = ""


def generation_engine(settings: Settings) -> GenerationEngine:
    """The engine of the settings, not started. A model of the registry is fetched and compared first.

    Blocking; not to be called in an event loop's thread. Raises `InvalidInput` for settings that can't be, and as `local_model_of`.
    """
    own = settings.generation_service
    if own.model is None:
        raise InvalidInput(
            "generation_service.model: say which model to serve: a .gguf file for llama.cpp, a directory or a name at the Hub for vLLM.",
            field="generation_service.model",
        )
    found = _resolved(settings, own.model)
    match own.engine:
        case configured.LlamaCppEngine() as llama:
            return _llama(own, llama, found)
        case configured.VllmEngine() as vllm:
            return _vllm(own, vllm, found)


def _resolved(settings: Settings, source: str) -> ResolvedModel:
    if is_reference(source):
        found = local_model_of(settings, source, "generator", "generation_service.model")
        return ResolvedModel(str(found.path), str(found.version.number))
    return ResolvedModel(str(Path(source).expanduser()) if source.startswith(("~", "/", ".")) else source)


def _llama(own: configured.GenerationService, llama: configured.LlamaCppEngine, found: ResolvedModel) -> GenerationEngine:
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
        digest=own.digest,
    )


def _vllm(own: configured.GenerationService, vllm: configured.VllmEngine, found: ResolvedModel) -> GenerationEngine:
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
        digest=own.digest,
        startup=vllm.startup_seconds,
        silent=vllm.silent_seconds,
    )
