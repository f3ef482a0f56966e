"""The protocol of spaces holds in every reachable state, and each of its parts is needed (ADR 0028)."""

from __future__ import annotations

import pytest

from tests.model.checker import explore
from tests.model.spaces_model import SpacesModel
from tests.model.spaces_scenarios import SPACES, SPACES_COUNTEREXAMPLES, SPACES_IMPLIED
from tests.model.spaces_states import Weakness


@pytest.mark.parametrize("name", SPACES)
def test_spaces_hold(name: str) -> None:
    outcome = explore(SpacesModel(SPACES[name]))
    print(f"{name}: {outcome}")
    assert outcome.broken is None, outcome.trace
    assert outcome.exhausted


@pytest.mark.parametrize("weakness", SPACES_COUNTEREXAMPLES, ids=lambda weakness: weakness.name)
def test_each_part_of_the_protocol_of_spaces_is_needed(weakness: Weakness) -> None:
    outcome = explore(SpacesModel(SPACES_COUNTEREXAMPLES[weakness], weakness))
    print(f"{weakness}\n{outcome}\n{outcome.trace}")
    assert outcome.broken


@pytest.mark.parametrize("weakness", SPACES_IMPLIED, ids=lambda weakness: weakness.name)
@pytest.mark.parametrize("name", ["build", "back"])
def test_what_is_implied_by_the_rest_is_no_more_than_thrift(name: str, weakness: Weakness) -> None:
    assert explore(SpacesModel(SPACES[name], weakness)).broken is None


def test_no_weakness_of_spaces_is_left_out() -> None:
    assert {*SPACES_COUNTEREXAMPLES, *SPACES_IMPLIED} == set(Weakness)


def test_a_counterexample_of_spaces_can_be_read() -> None:
    trace = explore(SpacesModel(SPACES_COUNTEREXAMPLES[Weakness.STALE_FILL], Weakness.STALE_FILL)).trace
    assert trace.startswith("  1. ")
    assert "a filler reads d0" in trace
    assert "registered [0, 1], build ready" in trace
