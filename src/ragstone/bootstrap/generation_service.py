"""The engine of `ragstone serve-generation`; where an alias names its model, it is followed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from ragstone.bootstrap.followed_models import FollowedModels
from ragstone.domain.errors import InvalidInput, NotFound
from ragstone.domain.registered_models import ModelVersion, is_reference, parse_reference
from ragstone.ports.generation_engine import GenerationEngine
from ragstone.settings import generation_service as configured
from ragstone.settings.model import Settings
from ragstone.use_cases.alias_follower import AliasFollower
from ragstone.use_cases.model_acceptance import accept_engine
from ragstone.use_cases.model_slot import ModelSlot

_TELLS_ONLY = "two engines may not be in memory at once (generation_service.two_engines). Start its replicas again, one after the other."
_LLAMA_WINDOW = 4_096  # tokens; a model of 128,000 would take all memory for its cache


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """Where a model is: a path here, or a name at the Hub. `version`: the registry's number, empty for what is not from there."""

    location: str
    version: str = ""


class ServedGenerator(FollowedModels):
    """Finds the model, then follows its alias."""

    async def engine(self) -> GenerationEngine:
        """The engine of the settings, not started. A model of the registry is fetched and compared first.

        Raises `InvalidInput` for settings that can't be, and as `ModelDownloads.local`.
        """
        source = _source(self._settings)
        if is_reference(source):
            found = await self._local("generator", source, "generation_service.model")
            return await asyncio.to_thread(self._load, found.version, found.path)
        return await asyncio.to_thread(_engine, self._settings, ResolvedModel(_location(source)))

    def follow(self, engines: ModelSlot[GenerationEngine]) -> tuple[AliasFollower[GenerationEngine], ...]:
        """From now on what an alias names is what it means, or that it is not is told. Returns what follows, for its `problem`."""
        why = None if _changes_over(self._settings) else _TELLS_ONLY
        return self._follow("generator", _source(self._settings), engines, self._load, accept_engine, why)

    def _load(self, version: ModelVersion, path: Path) -> GenerationEngine:
        return _engine(self._settings, ResolvedModel(str(path), str(version.number)), beside=_changes_over(self._settings))


def _source(settings: Settings) -> str:
    source = settings.generation_service.model
    if source is None:
        raise InvalidInput(
            "generation_service.model: say which model to serve: a .gguf file for llama.cpp, a directory or a name at the Hub for vLLM.",
            field="generation_service.model",
        )
    return source


def _location(source: str) -> str:
    return str(Path(source).expanduser()) if source.startswith(("~", "/", ".")) else source


def _changes_over(settings: Settings) -> bool:
    """Whether a new version takes the place of the one that serves, so that for a while there are two engines."""
    own = settings.generation_service
    followed = own.model is not None and is_reference(own.model) and parse_reference(own.model).alias is not None
    allowed = own.two_engines if own.two_engines is not None else isinstance(own.engine, configured.LlamaCppEngine)
    return followed and allowed


def _engine(settings: Settings, found: ResolvedModel, *, beside: bool = False) -> GenerationEngine:
    own = settings.generation_service
    match own.engine:
        case configured.LlamaCppEngine() as llama:
            return _llama(own, llama, found, beside=beside)
        case configured.VllmEngine() as vllm:
            return _vllm(own, vllm, found)


def _llama(own: configured.GenerationService, llama: configured.LlamaCppEngine, found: ResolvedModel, *, beside: bool) -> GenerationEngine:
    """`beside`: another may be loaded while it answers, which only processes of their own can do."""
    try:
        from ragstone.adapters.llama_engine import LlamaEngine  # noqa: PLC0415 - an extra
        from ragstone.adapters.llama_process import LlamaProcess  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise InvalidInput(
            "generation_service.engine: llama.cpp needs the package xllamacpp, which is not here: pip install 'ragstone[llama]'.",
            field="generation_service.engine",
        ) from error
    return (LlamaProcess if beside else LlamaEngine)(
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
