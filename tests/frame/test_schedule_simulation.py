"""The simulated schedule of bulk work: right where the answer is known, and docs/scaling.md has what the command prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.schedule_simulation import PLANS, Assumptions, Plan, Rates, given, main, measured, simulate, table

RATES = Rates(embedded=50.0, cut=1_000.0, written=500.0, start=5.0)
CALM = Assumptions(kills=0.0, slow=0.0, schedule=15.0)
DOCS = Path(__file__).parents[2] / "docs" / "scaling.md"


def test_without_trouble_one_collections_windows_follow_each_other() -> None:
    plan = Plan(chunks=40_000, collections=1, nodes=1, shards=4, window=10_000)
    window = 10_000 / 1_000 + 20 + 2_500 / 50 + 10_000 / 500
    found = simulate(plan, RATES, CALM)
    assert found.hours == pytest.approx(4 * window / 3600)
    assert (found.kills, found.again) == (0, 0)
    assert found.busy == pytest.approx(4 * (20 + 50) / (8 * window))


def test_shards_wait_for_a_free_node() -> None:
    wide = simulate(Plan(10_000, 1, 1, 8, 10_000), RATES, CALM)
    narrow = simulate(Plan(10_000, 1, 1, 16, 10_000), RATES, CALM)  # two rounds of 8
    assert wide.hours == pytest.approx((10 + 20 + 25 + 20) / 3600)
    assert narrow.hours == pytest.approx((10 + 2 * (20 + 12.5) + 20) / 3600)


def test_writers_wait_for_the_index() -> None:
    plan = Plan(80_000, 8, 8, 8, 10_000)
    free = simulate(plan, RATES, CALM)
    one = simulate(plan, RATES, replace(CALM, index_writers=1))
    assert one.hours == pytest.approx(free.hours + 7 * 20 / 3600)


def test_stragglers_and_kills_cost_time_and_a_kill_no_more_than_a_part() -> None:
    plan = Plan(400_000, 2, 1, 4, 20_000)
    calm = simulate(plan, RATES, CALM)
    slow = simulate(plan, RATES, replace(CALM, slow=0.2, slowness=3.0))
    killed = simulate(plan, RATES, replace(CALM, kills=5.0))
    assert slow.hours > 1.1 * calm.hours
    assert killed.hours > calm.hours
    assert 0 < killed.again < killed.kills * 128
    assert simulate(plan, RATES, replace(CALM, kills=5.0)) == killed


def test_memory_and_money_follow_what_was_assumed() -> None:
    assumed = replace(CALM, bytes_a_chunk=2**20, node_memory=4.0, price_embedding_hour=2.0, price_index_hour=3.0)
    found = simulate(Plan(10_240, 1, 5, 8, 10_240), RATES, assumed)
    assert (found.index_memory, found.index_nodes) == (10.0, 3)
    assert found.money == pytest.approx(found.hours * (5 * 2 + 3 * 3))


def test_the_page_has_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    printed = capsys.readouterr().out.strip()
    page = DOCS.read_text("utf-8")
    assert given(measured(), Assumptions()) in printed
    for part in printed.split("\n\n"):
        assert part in page, f"docs/scaling.md is out of date: put in what `python -m bench.schedule_simulation` prints\n{part}"


def test_a_reader_puts_in_prices_and_a_plan_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--price-embedding-hour", "0", "--price-index-hour", "0", "--chunks", "1000000", "--nodes", "3"])
    row = capsys.readouterr().out.strip().splitlines()[-1]
    assert row.startswith("| 1,000,000 | 1 | 3 |")
    assert row.endswith("| 0 |")


def test_plans_reach_a_billion_chunks() -> None:
    assert {plan.chunks for plan in PLANS} == {10_000_000, 1_000_000_000}
    assert table(RATES, CALM, PLANS[:1]).count("\n") == 2
