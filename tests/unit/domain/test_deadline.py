"""One deadline a request."""

from __future__ import annotations

from ragstone.domain.deadline import deadline, remaining


def test_nothing_is_bounded_without_a_deadline() -> None:
    assert remaining() is None


def test_an_inner_deadline_never_gives_more_than_the_outer_one_has() -> None:
    with deadline(10), deadline(1000):
        left = remaining()
        assert left is not None
        assert 9 < left <= 10


def test_an_inner_deadline_ends_with_its_block() -> None:
    with deadline(1000):
        with deadline(1):
            assert (remaining() or 0) <= 1
        assert (remaining() or 0) > 900
    assert remaining() is None


def test_what_outlives_its_request_has_no_deadline() -> None:
    with deadline(5), deadline(None):
        assert remaining() is None


def test_no_less_than_nothing_is_left() -> None:
    with deadline(-3):
        assert remaining() == 0.0
