"""The short form of the crash tests: a crash in each port and ten kills in `make test`; every failpoint once, and kills while a space is filled, in
`make test-servers`. `make test-crash` runs the whole.
"""

from __future__ import annotations

import pytest

from ragstone.adapters.failpoints import SIDE_EFFECTS, names
from tests.crash import run_kills, run_matrix, run_refills, run_zombie
from tests.crash.cells import few, over_servers, sample

pytestmark = pytest.mark.xdist_group("crash")  # one after the other: each of them uses every processor


def test_after_a_crash_in_any_port_everything_is_as_if_there_had_been_none() -> None:
    result = run_matrix("few")
    assert result.failures == ()
    assert result.names == {cell.point.name for cell in few()}
    assert {name.partition(".")[0] for name in result.names} == set(SIDE_EFFECTS)
    assert result.converged == result.cells == len(few())


@pytest.mark.long
def test_after_a_crash_everything_is_as_if_there_had_been_none() -> None:
    result = run_matrix("sample")
    assert result.failures == ()
    assert result.names == set(names())
    assert result.converged == result.cells >= 60


def test_over_servers_nothing_is_left_out_but_what_only_an_owner_does() -> None:
    reached = {cell.point.name for cell in sample() if over_servers(cell)}
    assert {name.rpartition(".")[0] for name in set(names()) - reached} == {"catalog.requeue_orphans", "index.optimise"}


def test_random_kills_lose_nothing_and_leave_no_ghosts() -> None:
    result = run_kills(seed=1, kills=10)
    assert result.notes == ()
    assert (result.kills, result.lost, result.ghosts, result.mixed) == (10, 0, 0, 0)
    assert result.reads >= 500
    assert result.acknowledged >= 10


@pytest.mark.long
def test_a_space_is_filled_over_kills_and_every_text_is_embedded_once_but_for_the_killed_batches() -> None:
    result = run_refills(seed=1, kills=3)
    assert result.notes == ()
    assert result.texts >= 600
    assert result.again <= result.kills * result.batch
    assert result.reads >= 10


def test_a_writer_that_wakes_up_late_changes_no_read() -> None:
    result = run_zombie()
    assert result.notes == ()
    assert result.reads_changed == 0 < result.reads
    assert result.remains == result.remains_seen == result.remains_removed == 5
