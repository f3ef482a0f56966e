"""The reranker of the settings in a whole process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragstone.adapters.http_reranker import HttpReranker
from ragstone.adapters.model_files import file_digest
from ragstone.bootstrap.models import reranker
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.errors import InvalidInput, NotFound, Unavailable
from ragstone.domain.uploads import IngestRequest, Upload
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from ragstone.use_cases.query import Question
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support.tiny_cross_encoder import make_cross_encoder

HTTP: dict[str, Any] = {"kind": "http", "dialect": "cohere", "base_url": "https://api.example.org/v2", "model": "judge"}


def configured(tmp_path: Path, **reranker: Any) -> Settings:
    return load_settings(data_dir=tmp_path / "data", models=tmp_path / "models", reranker=reranker)


async def test_a_model_directory_reranks_and_is_closed_with_the_platform(tmp_path: Path) -> None:
    folder = make_cross_encoder(tmp_path / "tiny")
    settings = configured(tmp_path, kind="onnx", model=str(folder), digest=file_digest(folder / "model.safetensors"), threads=1)
    async with open_platform(settings, embedder=HashingEmbeddingModel()) as platform:
        await platform.collections.create("docs")
        job = await platform.ingest.submit("docs", IngestRequest((Upload("a.txt", b"The red pump stops.", "text/plain"),)))
        assert (await platform.ingest.wait(job.id, 20)).state == "published"
        question = Question("docs", "red pump")
        assert (await platform.query.search(question)).passages[0].rerank is None
        asked = Question("docs", "red pump", retrieval=type(question.retrieval)(rerank=3))
        assert (await platform.query.search(asked)).passages[0].rerank is not None
        assert platform.query.reranker is not None
        assert platform.query.reranker.name == "tiny"
        ranker = platform.adapters.reranker
        assert ranker is not None
    with pytest.raises(Unavailable, match="closed"):
        await ranker.check()
    assert [path.suffix for path in (tmp_path / "models" / "graphs").iterdir()] == [".onnx"]


async def test_there_is_none_unless_it_is_set_up(tmp_path: Path) -> None:
    async with open_platform(load_settings(data_dir=tmp_path / "data"), embedder=HashingEmbeddingModel()) as platform:
        assert platform.query.reranker is None
        assert platform.adapters.reranker is None


async def test_a_model_that_can_not_be_used_keeps_the_platform_from_starting_and_names_the_setting(tmp_path: Path) -> None:
    for folder, digest, error, message in (
        (tmp_path / "absent", None, NotFound, r"reranker\.model: There is no model directory"),
        (make_cross_encoder(tmp_path / "many", labels=2), None, InvalidInput, r"reranker\.model: The model gives 2 labels"),
        (make_cross_encoder(tmp_path / "tiny"), "0" * 64, InvalidInput, r"reranker\.model: .* which is set; nothing is loaded"),
    ):
        settings = configured(tmp_path, kind="onnx", model=str(folder), digest=digest)
        with pytest.raises(error, match=message) as raised:
            async with open_platform(settings, embedder=HashingEmbeddingModel()):
                pass
        assert raised.value.field == "reranker.model"
    async with open_platform(load_settings(data_dir=tmp_path / "data"), embedder=HashingEmbeddingModel()):
        pass  # the data directory was let go


async def test_an_endpoint_s_key_comes_from_its_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"reranker\.api_key_file: it can't be read"):
        reranker(configured(tmp_path, **HTTP, api_key_file=tmp_path / "absent"))
    (tmp_path / "key").write_text("secret")
    made = reranker(configured(tmp_path, **HTTP, api_key_file=tmp_path / "key"))
    assert isinstance(made, HttpReranker)
    assert (made.identity.kind, made.identity.name) == ("cohere", "judge")
    await made.close()
    with pytest.raises(InvalidInput, match=r"reranker\.base_url"):
        reranker(configured(tmp_path, **HTTP | {"base_url": "api.example.org"}))
