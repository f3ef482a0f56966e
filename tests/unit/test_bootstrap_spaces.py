"""The settings of embedding spaces in a whole process."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.bootstrap.platform import open_platform
from ragstone.settings.load import load_settings
from tests.fakes.embedding_model import HashingEmbeddingModel


@pytest.mark.parametrize(("given", "days"), [({}, 7.0), ({"spaces": {"keep_days": 0.5}}, 0.5)])
async def test_how_long_kept_commits_hold_an_old_space_is_a_setting(
    given: dict[str, dict[str, float]], days: float, tmp_path: Path
) -> None:
    async with open_platform(load_settings(data_dir=tmp_path / "data", **given), embedder=HashingEmbeddingModel()) as platform:
        assert platform.reembedding._keep == days * 86_400
