"""The protocol holds in every reachable state, and each of its parts is needed: without it there is a counterexample."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from ragstone.domain.commits import OPEN
from ragstone.domain.documents import Chunk, DocumentInfo
from ragstone.use_cases.chunk_plan import plan_chunks
from tests.model.checker import explore
from tests.model.scenarios import BY_PATH, COUNTEREXAMPLES, IMPLIED, SCENARIOS
from tests.model.states import Point, Weakness, plan
from tests.model.write_path import WritePath


@pytest.mark.parametrize("name", SCENARIOS)
def test_protocol_holds(name: str) -> None:
    outcome = explore(WritePath(SCENARIOS[name]))
    print(f"{name}: {outcome}")
    assert outcome.broken is None, outcome.trace
    assert outcome.exhausted


@pytest.mark.parametrize("weakness", COUNTEREXAMPLES, ids=lambda weakness: weakness.name)
def test_each_part_of_the_protocol_is_needed(weakness: Weakness) -> None:
    name, faults = COUNTEREXAMPLES[weakness]
    outcome = explore(WritePath(replace(SCENARIOS[name], faults=faults), weakness))
    print(f"{weakness}\n{outcome}\n{outcome.trace}")
    assert outcome.broken
    assert outcome.trace.startswith("  1. job ")


def test_no_weakness_is_left_out() -> None:
    assert {*COUNTEREXAMPLES, *IMPLIED} == set(Weakness)


@pytest.mark.parametrize("weakness", IMPLIED, ids=lambda weakness: weakness.name)
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_implied_by_the_rest_is_a_second_line_of_defence(name: str, weakness: Weakness) -> None:
    assert explore(WritePath(replace(SCENARIOS[name], faults=1), weakness)).broken is None


@pytest.mark.parametrize("name", BY_PATH)
def test_numbers_by_path_do_not_take_the_place_of_the_order(name: str) -> None:
    outcome = explore(WritePath(replace(SCENARIOS[name], faults=0), Weakness.NUMBERS))
    assert outcome.broken
    assert "in the order of their numbers" in outcome.broken


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "move"])
def test_numbers_by_path_at_their_best_fail_for_moves_only(name: str) -> None:
    outcome = explore(WritePath(replace(SCENARIOS[name], faults=0), Weakness.ALL_NUMBERS))
    assert outcome.broken is None, outcome.trace


def test_a_counterexample_can_be_read() -> None:
    name, _ = COUNTEREXAMPLES[Weakness.JOB_FIRST]
    assert explore(WritePath(replace(SCENARIOS[name], faults=0), Weakness.JOB_FIRST)).trace == (
        "  1. job 1 put d0=b is taken as attempt 2\n"
        "  2. attempt 2 (job 1) stages {d0=b}\n"
        "  3. attempt 2 (job 1) reads the head's points: 1 to open, 2 to close\n"
        "  4. attempt 2 (job 1) asks the index for the insert of d0 'b'\n"
        "  5. attempt 2 (job 1) asks the index for the close of d0 'a' (opened by 1)\n"
        "  6. attempt 2 (job 1) asks the index for the close of d0 'b' (opened by 1)\n"
        "  7. attempt 2 (job 1) counts what it wrote\n"
        "  8. attempt 2 (job 1) marks its job published\n"
        "jobs: 1 (put d0=b): published, 2 (put d0=ba, put d1=a): open\n"
        "attempts: 2 (job 1): active\n"
        "commits (main 1):\n"
        "  commit 1: {d0=ab}, gaps []\n"
        "points:\n"
        "  d0 'a' at 0: [1, 2)\n"
        "  d0 'b' at 1: [1, 2)\n"
        "  d0 'b' at 0: [2, open)"
    )


@pytest.mark.parametrize(("before", "after"), list(product(["", "a", "b", "ab", "ba"], repeat=2)))
def test_the_model_plans_as_the_product_does(before: str, after: str) -> None:
    info = DocumentInfo("d0", "text/plain", 1, "0" * 64)

    def chunks(text: str) -> tuple[Chunk, ...]:
        return tuple(Chunk(chunk, (), place, place + 1, chunk, 0) for place, chunk in enumerate(text))

    old = plan_chunks([], [(info, chunks(before))], attempt=1, commit_id="").opens
    product_plan = plan_chunks(old, [(info, chunks(after))] if after else [], attempt=2, commit_id="")
    places = {chunk.id: (chunk.content_hash, chunk.start) for chunk in old}
    opens, closes = plan((Point((0, text, 1), place, 1, OPEN) for text, place in places.values()), (before,), (after,), 2)
    assert [(point.id[1], point.place) for point in opens] == [(chunk.content_hash, chunk.start) for chunk in product_plan.opens]
    assert sorted(closed[1] for closed in closes) == sorted(places[closed][0] for closed in product_plan.closes)
