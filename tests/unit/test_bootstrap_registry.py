"""A platform whose models are versions of the registry."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ragstone.adapters.directory_models import DirectoryModelRegistry
from ragstone.adapters.llama_generator import LlamaGenerator
from ragstone.bootstrap.generation_service import ServedGenerator
from ragstone.bootstrap.models import embedding_model, generator, reranker
from ragstone.bootstrap.platform import open_platform
from ragstone.bootstrap.registry import content_of, model_registry
from ragstone.domain.errors import Forbidden, InvalidInput, NotFound
from ragstone.domain.generation import GeneratorIdentity
from ragstone.domain.registered_models import GeneratorReference, ModelContent, ModelKind, ModelVersion
from ragstone.ports.generation_engine import GenerationEngine
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support.tiny_cross_encoder import make_cross_encoder
from tests.support.tiny_encoder import make_encoder
from tests.support.tiny_llama import write_tiny_llama


def configured(tmp_path: Path, **more: object) -> Settings:
    return load_settings(data_dir=tmp_path / "data", models=tmp_path / "cache", threads=1, **more)


async def registered(settings: Settings, name: str, folder: Path, kind: ModelKind) -> ModelVersion:
    """A version whose alias is champion."""
    content, root = await asyncio.to_thread(content_of, settings, str(folder), kind, "MIT")
    async with model_registry(settings) as registry:
        made = await registry.register(name, content, root, "ada")
        return await registry.move_alias(name, "champion", made.number)


async def served_engine(settings: Settings) -> GenerationEngine:
    service = ServedGenerator(settings)
    try:
        return await service.engine()
    finally:
        await service.close()


async def test_a_platform_of_registered_models_has_the_space_of_the_directory(tmp_path: Path) -> None:
    await registered(configured(tmp_path), "embedder", make_encoder(tmp_path / "minilm"), "embedder")
    await registered(configured(tmp_path), "judge", make_cross_encoder(tmp_path / "judge"), "reranker")
    directly = await asyncio.to_thread(embedding_model, configured(tmp_path, model=str(tmp_path / "minilm")))
    settings = configured(tmp_path, model="models:/embedder@champion", reranker={"kind": "onnx", "model": "models:/judge/1", "threads": 1})
    async with open_platform(settings) as platform:  # the registry's directory does not keep a data directory from being made
        assert platform.embedder.identity == directly.identity
        assert platform.query.reranker is not None
        assert platform.query.reranker.name == "judge"
    async with open_platform(settings):
        pass


async def test_models_that_can_not_be_had_keep_a_platform_from_starting_and_say_why(tmp_path: Path) -> None:
    made = await registered(configured(tmp_path), "embedder", make_encoder(tmp_path / "minilm"), "embedder")
    for source, error, message in (
        ("models:/embedder@staging", NotFound, "embedder has no alias 'staging'"),
        ("models:/embedder/2", NotFound, "embedder has no version 2"),
        ("models:/other@champion", NotFound, "no registered model 'other'"),
        ("models:/embedder", InvalidInput, "model: 'models:/embedder' is no registered model"),
    ):
        with pytest.raises(error, match=message):
            await asyncio.to_thread(embedding_model, configured(tmp_path, model=source))
    with pytest.raises(InvalidInput, match=r"reranker\.model: models:/embedder/1 is of the kind embedder"):
        await asyncio.to_thread(reranker, configured(tmp_path, reranker={"kind": "onnx", "model": "models:/embedder/1"}))
    stored = tmp_path / "data" / "models" / "embedder" / "1" / "files" / "model.safetensors"
    stored.write_bytes(stored.read_bytes()[::-1])
    with pytest.raises(Forbidden, match=r"model\.safetensors of models:/embedder/1 is not the file that was registered"):
        await asyncio.to_thread(embedding_model, configured(tmp_path, model=made.label))


async def test_a_generator_s_name_and_revision_come_from_the_registry_and_its_key_goes_nowhere_else(tmp_path: Path) -> None:
    async with model_registry(configured(tmp_path)) as registry:
        for revision in ("1", "2"):
            content = ModelContent("generator", "MIT", reference=GeneratorReference("http://127.0.0.1:1/v1", "llama", revision))
            await registry.register("writer", content, None, "ada")
        await registry.move_alias("writer", "champion", 2)
    await registered(configured(tmp_path), "embedder", make_encoder(tmp_path / "minilm"), "embedder")

    async def identity(model: str, base_url: str = "http://127.0.0.1:1/v1/") -> GeneratorIdentity:
        settings = configured(tmp_path, generator={"kind": "openai", "base_url": base_url, "model": model})
        made = await asyncio.to_thread(generator, settings, HashingEmbeddingModel())
        return made.identity

    assert await identity("models:/writer@champion") == GeneratorIdentity("openai", "llama", "2")
    assert await identity("models:/writer/1") == GeneratorIdentity("openai", "llama", "1")
    assert await identity("llama") == GeneratorIdentity("openai", "llama")
    with pytest.raises(InvalidInput, match=r"generator\.base_url: models:/writer/2 was registered for http://127\.0\.0\.1:1/v1"):
        await identity("models:/writer@champion", "http://elsewhere/v1")
    with pytest.raises(InvalidInput, match=r"generator\.model: models:/embedder/1 is no generator that runs elsewhere"):
        await identity("models:/embedder@champion")


async def test_two_processes_share_the_directory_of_a_registry(tmp_path: Path) -> None:
    settings = configured(tmp_path)
    made = await registered(settings, "embedder", make_encoder(tmp_path / "minilm"), "embedder")
    assert await DirectoryModelRegistry(tmp_path / "data" / "models").versions("embedder") == [made]


async def test_a_registered_gguf_file_is_what_the_service_s_engine_and_the_generator_in_process_run(tmp_path: Path) -> None:
    made = await registered(configured(tmp_path), "writer", write_tiny_llama(tmp_path / "quartz.gguf"), "generator")
    settings = configured(
        tmp_path,
        generation_service={"model": "models:/writer@champion", "context_window": 512},
        generator={"kind": "llama", "model": "models:/writer/1", "context_window": 512},
    )
    engine = await served_engine(settings)
    await engine.close()
    assert (engine.names, engine.model.version) == (("quartz",), str(made.number))
    inside = await asyncio.to_thread(generator, settings, HashingEmbeddingModel())
    assert isinstance(inside, LlamaGenerator)
    assert inside.identity.name == "quartz"
    assert inside.identity.revision == made.content.files[0].sha256
    await inside.close()
    for kept in [*(tmp_path / "cache").rglob("quartz.gguf"), *(tmp_path / "data").rglob("quartz.gguf")]:
        kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(Forbidden, match=r"^generation_service\.model: .*quartz\.gguf"):
        await served_engine(settings)


async def test_what_writes_no_answers_is_refused_where_a_generator_is_named(tmp_path: Path) -> None:
    await registered(configured(tmp_path), "judge", make_cross_encoder(tmp_path / "judge"), "reranker")
    service = configured(tmp_path, generation_service={"model": "models:/judge@champion"})
    with pytest.raises(InvalidInput, match=r"^generation_service\.model: models:/judge/1 is of the kind reranker"):
        await served_engine(service)
    inside = configured(tmp_path, generator={"kind": "llama", "model": "models:/judge/1"})
    with pytest.raises(InvalidInput, match=r"^generator\.model: models:/judge/1 is of the kind reranker"):
        await asyncio.to_thread(generator, inside, HashingEmbeddingModel())
