"""Fixtures: the charts assembled once per process, and every case's render."""

from __future__ import annotations

import pytest

from tests.charts.helm import Helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))
