"""Fixtures: the Tiltfile, executed once per process."""

from __future__ import annotations

import pytest

from tests.charts.helm import ROOT, Helm
from tests.dev.tilt import Tilt


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def tiltfile() -> str:
    return (ROOT / "Tiltfile").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def tilt(charts: Helm, tiltfile: str) -> Tilt:
    return Tilt(charts).execute(tiltfile)
