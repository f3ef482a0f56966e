"""What every `Storage` promises."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ragstone.adapters.disk_space import DiskSpace
from ragstone.domain.errors import Unavailable
from ragstone.ports.storage import Storage
from tests.fakes.storage import FixedStorage


@pytest.fixture(params=["disk", "fake"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return DiskSpace(tmp_path) if request.param == "disk" else FixedStorage()


async def test_free_and_needed_are_bytes(storage: Storage) -> None:
    free, needed = await storage.free()
    assert free >= 0
    assert needed > 0


async def test_the_disks_own_figure_is_given(tmp_path: Path) -> None:
    free, _ = await DiskSpace(tmp_path).free()
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)


async def test_a_directory_that_is_gone_can_not_be_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await DiskSpace(tmp_path / "absent").free()
