"""Times as they are told."""

from __future__ import annotations

from datetime import datetime

from hypothesis import example, given
from hypothesis import strategies as st

from ragstone.services.orchestrator.views import moment


@given(st.floats(min_value=1.6e9, max_value=2.5e9))
@example(2251799814.1757812)
def test_a_time_that_was_told_is_not_before_the_moment_itself(seconds: float) -> None:
    told = datetime.fromisoformat(moment(seconds)).timestamp()
    assert seconds <= told < seconds + 3e-6


def test_the_form() -> None:
    assert moment(0.25) == "1970-01-01T00:00:00.250000Z"
