"""Documents that nothing can be done with, over a real NATS server: given up after N tries, the others ingested, replayed after the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from tests.support.poison import poisoned


@pytest.mark.parametrize(("how", "code", "tries", "deaths"), [("kill", "worker-lost", 2, 2), ("lost", "unavailable", 3, 0)])
async def test_a_poisoned_document_becomes_a_dead_letter_and_holds_up_no_other(
    tmp_path: Path, nats_url: str, how: Literal["kill", "lost"], code: str, tries: int, deaths: int
) -> None:
    outcome = await poisoned(tmp_path, nats_url, how=how, tries=tries, others=3)
    [letter] = outcome.letters
    assert (letter["code"], letter["tries"], letter["collection"]) == (code, tries, "sick")
    assert (outcome.deaths, outcome.in_stream) == (deaths, 1)
    assert outcome.published == outcome.accepted
    assert outcome.told == outcome.accepted | {("sick", "poison.txt")}
    assert (outcome.replayed, outcome.cured, outcome.letters_after) == ("published", True, 0)


@pytest.mark.long
async def test_a_poisoned_document_takes_no_job_along_that_is_worked_on_beside_it(tmp_path: Path, nats_url: str) -> None:
    """A job that takes longer than the poison takes to kill the process, and would be under way at each of its tries."""
    outcome = await poisoned(tmp_path, nats_url, how="kill", tries=3, others=2, lasting=3.0)
    assert [(letter["collection"], letter["tries"]) for letter in outcome.letters] == [("sick", 3)]
    assert outcome.published == outcome.accepted
    assert outcome.deaths == 3
