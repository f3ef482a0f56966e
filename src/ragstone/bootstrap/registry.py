"""The model registry of the settings, and models of it on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from ragstone.adapters.data_directory import MODELS
from ragstone.adapters.directory_models import DirectoryModelRegistry
from ragstone.adapters.model_content import read_content
from ragstone.adapters.model_downloads import ModelDownloads
from ragstone.adapters.model_store import ModelStore
from ragstone.domain.errors import Forbidden, InvalidInput, NotFound, Unavailable
from ragstone.domain.registered_models import (
    GeneratorReference,
    LocalModel,
    ModelContent,
    ModelKind,
    ModelVersion,
    is_reference,
    parse_reference,
)
from ragstone.domain.spaces import ModelIdentity
from ragstone.ports.model_registry import ModelRegistry
from ragstone.settings import stores
from ragstone.settings.model import Settings
from ragstone.settings.registry import ModelRegistrySettings
from ragstone.use_cases.model_acceptance import try_embedder


def registry_at(tracking: stores.Tracking, data_dir: Path) -> ModelRegistry:
    """MLflow's where there is a server, else a directory of the data directory. To be closed."""
    match tracking:
        case stores.MlflowTracking() as mlflow:
            from ragstone.adapters.mlflow_models import MlflowModelRegistry  # noqa: PLC0415 - slow to import, and an extra

            return MlflowModelRegistry(mlflow.uri)
        case stores.NoTracking():
            return DirectoryModelRegistry(data_dir / MODELS)


@asynccontextmanager
async def model_registry(settings: Settings) -> AsyncIterator[ModelRegistry]:
    """The registry, closed at the end."""
    registry = registry_at(settings.tracking, settings.data_dir)
    try:
        yield registry
    finally:
        await registry.close()


def downloads(registry: ModelRegistry, store: ModelStore, settings: ModelRegistrySettings) -> ModelDownloads:
    """Models of the registry in the model cache."""
    return ModelDownloads(registry, store.registered, max_bytes=settings.max_bytes)


def local_model_of(settings: Settings, source: str, kind: ModelKind | None, field: str) -> LocalModel:
    """A version of the registry that a setting (`field`) names, fetched and compared; `kind` None: of any.

    Blocking; not to be called in an event loop's thread. Raises as `parse_reference` and `ModelDownloads.local`, naming the setting.
    """
    reference = parse_reference(source, field)

    async def fetched() -> LocalModel:
        async with model_registry(settings) as registry:
            return await downloads(registry, ModelStore(settings.models), settings.model_registry).local(reference, kind)

    with naming(field):
        return asyncio.run(fetched())


@contextmanager
def naming(field: str) -> Iterator[None]:
    """What is wrong with a registered model is said of the setting that names it."""
    try:
        yield
    except (NotFound, InvalidInput, Forbidden, Unavailable) as error:
        raise type(error)(f"{field}: {error.message.removeprefix('model: ')}", field=field) from error


def place(settings: Settings, source: str, kind: ModelKind, field: str) -> Path:
    """Where a model is: a version of the registry, as `local_model_of`, or a path, which need not be there."""
    return local_model_of(settings, source, kind, field).path if is_reference(source) else Path(source).expanduser()


def generator_elsewhere(settings: Settings, source: str, base_url: str) -> GeneratorReference:
    """The name and revision of a registered generator that runs at `base_url`. Blocking.

    Raises as `ModelDownloads.meant`, and `InvalidInput` when it is none, or was registered for another address: the key of this one goes nowhere else.
    """
    reference = parse_reference(source, "generator.model")

    async def asked() -> ModelVersion:
        async with model_registry(settings) as registry:
            return (await downloads(registry, ModelStore(settings.models), settings.model_registry).meant(reference))[0]

    version = asyncio.run(asked())
    found = version.content.reference
    if found is None:
        raise InvalidInput(f"generator.model: {version.label} is no generator that runs elsewhere.", field="generator.model")
    if found.base_url.rstrip("/") != base_url.rstrip("/"):
        raise InvalidInput(
            f"generator.base_url: {version.label} was registered for {found.base_url}; set that, so that a key goes where it is meant to.",
            field="generator.base_url",
        )
    return found


def pulled(settings: Settings, source: str) -> LocalModel:
    """A version of the registry, of any kind, with what is built from it once, so that the cache may be read-only. Blocking; raises as `local_model_of`."""
    found = local_model_of(settings, source, None, "name")
    if found.version.content.kind == "embedder":
        from ragstone.adapters.onnx_session import prepare  # noqa: PLC0415 - who has other models needs no ONNX Runtime

        prepare(found.path, ModelStore(settings.models).graphs)
    return found


def content_of(settings: Settings, source: str, kind: ModelKind, licence: str) -> tuple[ModelContent, Path]:
    """What is to be registered of a preset or path, with the directory of its files, after it was looked at and, where it can be loaded here, tried.

    Blocking. Raises `NotFound`, and `InvalidInput` saying what is in the way.
    """
    store = ModelStore(settings.models)
    path = store.path(source) if kind in ("embedder", "reranker") else Path(source).expanduser()  # presets are no prompts
    ModelContent(kind, licence, reference=GeneratorReference("", "", ""))  # refuses a missing licence before a large model is read
    root, entry, files = read_content(path, kind)
    identity = None
    if kind == "embedder":
        identity = asyncio.run(_tried_embedder(path, store.graphs))
    elif kind == "reranker":
        asyncio.run(_tried_reranker(path, store.graphs))
    return ModelContent(kind, licence, root.name, entry, files, identity), root


async def _tried_embedder(path: Path, graphs: Path) -> ModelIdentity:
    from ragstone.adapters.onnx_embedder import OnnxEmbedder  # noqa: PLC0415 - who registers no model needs no ONNX Runtime

    embedder = OnnxEmbedder(path, graphs=graphs, threads=1)
    try:
        await try_embedder(embedder)
    finally:
        await asyncio.to_thread(embedder.close)
    return embedder.identity


async def _tried_reranker(path: Path, graphs: Path) -> None:
    from ragstone.adapters.onnx_reranker import OnnxReranker  # noqa: PLC0415

    await OnnxReranker(path, graphs=graphs, threads=1).close()  # it tries itself
