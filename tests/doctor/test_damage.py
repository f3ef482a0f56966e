"""Every kind of damage to a real data directory is found, and mended or explained."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ragstone.domain.findings import CheckReport
from tests.support.damage import DAMAGES, Damage, DamageResult, examine, opened, undamaged
from tests.support.portrait import Portrait

Pristine = tuple[Path, Portrait]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Pristine:
    directory = tmp_path_factory.mktemp("damage") / "undamaged"
    return directory, asyncio.run(undamaged(directory))


async def test_an_undamaged_directory_has_no_findings(pristine: Pristine, tmp_path: Path) -> None:
    async with opened(pristine[0]) as platform:
        report: CheckReport = await platform.doctor.run(repair=True)
    assert report.findings == ()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.kind)
async def test_damage_is_found_and_mended_or_explained(damage: Damage, pristine: Pristine, tmp_path: Path) -> None:
    result = await examine(damage, *pristine, tmp_path / "damaged")
    assert result == DamageResult(damage.kind, detected=True, repairable=damage.repairable, repaired=damage.repairable, explained=True)
