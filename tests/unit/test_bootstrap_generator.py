"""A GGUF model of the settings that is in a service's memory: the same generator as in this process."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ragstone.adapters.openai_generator import OpenAIGenerator
from ragstone.bootstrap.models import generator
from ragstone.domain.errors import InvalidInput, NotFound
from ragstone.domain.generation import GeneratorIdentity
from ragstone.ports.generator import Generator
from ragstone.settings.load import load_settings
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support.tiny_llama import write_tiny_llama

SERVICE = "http://127.0.0.1:9/v1"


def made(model: Path, **more: object) -> Generator:
    settings = load_settings(generator={"kind": "llama", "model": str(model), "base_url": SERVICE, **more})
    return generator(settings, HashingEmbeddingModel())


async def test_a_model_in_a_service_has_the_identity_and_the_window_that_it_has_in_this_process(tmp_path: Path) -> None:
    model = write_tiny_llama(tmp_path / "small.gguf", trained=1_024)
    elsewhere = made(tmp_path, context_window=4_096)  # the directory that holds it
    assert isinstance(elsewhere, OpenAIGenerator)
    assert elsewhere.identity == GeneratorIdentity("llama", "small", hashlib.sha256(model.read_bytes()).hexdigest())
    assert elsewhere.context_window == 1_024
    less = made(model, context_window=512)
    assert less.context_window == 512
    pytest.importorskip("xllamacpp", reason="xllamacpp is not here: pip install 'ragstone[llama]'")
    from ragstone.adapters.llama_generator import LlamaGenerator  # noqa: PLC0415

    settings = load_settings(generator={"kind": "llama", "model": str(model), "context_window": 4_096, "threads": 1})
    inside = generator(settings, HashingEmbeddingModel())
    assert isinstance(inside, LlamaGenerator)
    assert (inside.identity, inside.context_window) == (elsewhere.identity, elsewhere.context_window)
    for one in (elsewhere, less):
        assert isinstance(one, OpenAIGenerator)
        await one.aclose()
    await inside.close()


def test_what_is_wrong_with_the_model_is_said_of_the_setting(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=rf"^generator\.model: There is no GGUF file or directory '{tmp_path / 'none.gguf'}'"):
        made(tmp_path / "none.gguf")
    model = write_tiny_llama(tmp_path / "small.gguf")
    with pytest.raises(InvalidInput, match=rf"^generator\.model: small\.gguf has the SHA-256 [0-9a-f]{{64}}, not {'a' * 64}"):
        made(model, digest="a" * 64)
    with pytest.raises(InvalidInput, match=r"^generator\.base_url: it must be an http or https address"):
        made(model, base_url="127.0.0.1:9")
    with pytest.raises(InvalidInput, match=r"^generator\.api_key_file: it can't be read"):
        made(model, api_key_file=str(tmp_path / "none"))
