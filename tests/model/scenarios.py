"""What the model is run on: small enough to exhaust, and rich enough that each weakness shows."""

from __future__ import annotations

from tests.model.properties import Scenario
from tests.model.states import Job, Weakness

W = Weakness


def put(*texts: str | None) -> Job:
    """Writes the texts of d0, d1, ...: None leaves a document alone, "" deletes it."""
    return Job(tuple((document, text) for document, text in enumerate(texts) if text is not None))


SCENARIOS = {
    # Two documents in one commit; chunks that stay, move and go.
    "puts": Scenario((put("b"), put("ba", "a")), seeds=(("ab", ""),), faults=1),
    # A newer put that finds its text there already.
    "same": Scenario((put("b"), put("ab")), seeds=(("ab", "a"),), faults=1),
    "delete": Scenario((put(""), put("b")), seeds=(("ab", "a"),), faults=2),
    "mirror": Scenario((put("a", ""), put("b", "b")), seeds=(("ab", "a"),), faults=1),
    # d1 is the same now and then, and the older job changes it.
    "rollback": Scenario((put("b", "a"), Job(restore=1)), seeds=(("ab", "b"), ("a", "b")), faults=1),
    "three": Scenario((put("a"), put("b"), put("")), seeds=(("b",),), faults=1),
}

# Where the shortest counterexample is found: scenario, and the faults it takes.
COUNTEREXAMPLES = {
    W.SEQ_FROM_HEAD: ("delete", 1),
    W.ATTEMPT_REVIVED: ("delete", 1),
    W.TWO_ACTIVE: ("puts", 1),
    W.PUBLISH_UNCHECKED: ("delete", 1),
    W.PUBLISH_BLIND: ("delete", 1),
    W.END_UNCHECKED: ("same", 1),
    W.JOB_FIRST: ("puts", 0),
    W.HEAD_FIRST: ("delete", 0),
    W.ABORT_PUBLISHED: ("rollback", 2),
    W.NO_GAPS: ("puts", 1),
    W.PLAN_WITHOUT_GAPS: ("delete", 1),
    W.CLOSE_ALWAYS: ("delete", 1),
    W.CLOSE_OPEN_ONLY: ("same", 1),
    W.OVERWRITE: ("same", 1),
    W.IDS_WITHOUT_ATTEMPT: ("same", 0),
    W.NO_VERIFY: ("rollback", 1),
    W.CLEAN_BY_HEAD: ("delete", 0),
    W.CLEAN_WITHOUT_REOPENING: ("same", 1),
    W.RETIRE_EARLY: ("same", 1),
    W.STAGE_FROM_MAIN: ("puts", 0),
    W.MIRROR_FIRST: ("puts", 0),
    W.BRANCH_DROPPED_FIRST: ("puts", 0),
    W.OWN_BRANCH_ONLY: ("same", 1),
    W.ACK_ON_TAKE: ("same", 1),
    W.NO_NUMBERS: ("delete", 0),
    W.NUMBERS_IF_CHANGED: ("same", 0),
    W.ROLLBACK_NUMBERS_IF_CHANGED: ("rollback", 0),
    W.MIRROR_REMOVES_NEWER: ("mirror", 0),
}

# Numbers by path do not tell what a move reads: an older put of its source or target that comes late fits into no order.
# Nothing of that kind is left when jobs take the lease in the order of their numbers (`in_order`).
MOVE = Scenario((put("b"), Job(move=(0, 1))), seeds=(("ab", ""),), faults=1)

# The head cannot move while an attempt is active, so checking the attempt checks the head: that check is a second line of defence.
IMPLIED = W.HEAD_UNCHECKED
