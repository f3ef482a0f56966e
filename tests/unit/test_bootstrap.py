"""Failpoints in a whole process: switched on by the environment alone, and nothing of them otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.adapters.failpoints import VARIABLE
from ragstone.adapters.in_process_queue import InProcessJobQueue
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.bootstrap.platform import open_platform
from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.settings.load import load_settings
from tests.fakes.embedding_model import HashingEmbeddingModel


async def test_no_adapter_is_wrapped_without_failpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    async with open_platform(load_settings(data_dir=tmp_path / "data"), embedder=HashingEmbeddingModel()) as platform:
        assert type(platform.adapters.queue) is InProcessJobQueue
        assert type(platform.adapters.catalog) is SqliteCatalog


async def test_failpoints_of_the_environment_are_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "catalog.create_collection.before=lost")
    async with open_platform(load_settings(data_dir=tmp_path / "data"), embedder=HashingEmbeddingModel()) as platform:
        with pytest.raises(Unavailable, match=VARIABLE):
            await platform.collections.create("docs")
        await platform.collections.create("docs")


async def test_a_bad_specification_keeps_the_platform_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "catalog.publish=kill")
    with pytest.raises(InvalidInput, match=r"did you mean catalog\.publish"):
        async with open_platform(load_settings(data_dir=tmp_path / "data"), embedder=HashingEmbeddingModel()):
            pass
    assert not (tmp_path / "data").exists()
