"""A short form of `bench.servers_outage`: servers killed and started again under load, and one process of ragstone that goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.outage import bench

pytestmark = [pytest.mark.packaged, pytest.mark.long]
SECONDS = 2.0  # that each server is away


async def test_servers_that_die_and_come_back_under_load_lose_nothing_and_need_no_restart(tmp_path: Path) -> None:
    async with bench(tmp_path, "generation") as running:
        for name in ("mongo", "nats", "generation"):
            tally = await running.outage(name, "killed", SECONDS, around=0.5)
            assert tally.wrong == [], name
            assert tally.lost == [], name
            assert tally.recovered is not None, name
            assert tally.accepted, name
            if name != "mongo":  # neither reading nor accepting needs it
                assert tally.statuses[503] == 0, name
            assert (tally.degraded > 0) == (name == "generation")
        assert running.process.alive
