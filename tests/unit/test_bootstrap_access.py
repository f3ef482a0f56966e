"""The audit log and the counts of usage in a whole process, over each catalog there is."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from ragstone.bootstrap.platform import open_platform
from ragstone.domain.audit import AuditEntry, AuditFilter
from ragstone.domain.usage import Charge
from ragstone.settings.load import load_settings
from ragstone.settings.model import Settings
from tests.fakes.embedding_model import HashingEmbeddingModel

ENTRY = AuditEntry("one", 1.0, "ann", "POST /ingest", "docs", 200, "request")
QUESTION = Charge("questions_per_day", 1, 1, 86_400)


@pytest.fixture(params=["sqlite", pytest.param("mongo", marks=pytest.mark.packaged)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    limited = {"data_dir": tmp_path / "data", "rate_limits": {"questions_per_day": 1}}
    if request.param == "sqlite":
        return load_settings(**limited)
    mongo = {"kind": "mongo", "uri": request.getfixturevalue("mongo_url"), "database": f"test-{uuid4().hex}"}
    return load_settings(**limited, catalog=mongo)


async def test_entries_outlive_the_process_and_limits_are_counted(settings: Settings) -> None:
    async with open_platform(settings, embedder=HashingEmbeddingModel()) as platform:
        audit, meter = platform.adapters.audit, platform.adapters.meter
        assert audit is not None
        assert meter is not None
        await audit.append(ENTRY)
        assert await meter.use("ann", [QUESTION]) is None
        assert await meter.use("ann", [QUESTION]) is not None
    async with open_platform(settings, embedder=HashingEmbeddingModel()) as platform:
        audit = platform.adapters.audit
        assert audit is not None
        assert await audit.page(AuditFilter()) == [ENTRY]


async def test_nothing_is_counted_where_nothing_is_limited(tmp_path: Path) -> None:
    async with open_platform(load_settings(data_dir=tmp_path / "data"), embedder=HashingEmbeddingModel()) as platform:
        assert platform.adapters.meter is None
