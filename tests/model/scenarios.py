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
    # What a put writes is moved on.
    "move": Scenario((put("b"), Job(move=(0, 1))), seeds=(("ab", ""),), faults=1),
    # What the first job closed before it was given up is still open for the second.
    "prune": Scenario((put("b"), put(None, "b")), seeds=(("ab", "a"),), faults=1, workers=1, prunes=1),
    "prune and rollback": Scenario((put("c"), Job(restore=1)), seeds=(("ab",), ("b",)), faults=1, workers=1, prunes=2),
    "three": Scenario((put("a"), put("b"), put("")), seeds=(("b",),), faults=1),
}

# Where the shortest counterexample is found: scenario, and the faults it takes.
COUNTEREXAMPLES = {
    W.SEQ_FROM_HEAD: ("delete", 1),
    W.TWO_ACTIVE: ("puts", 1),
    W.PUBLISH_UNCHECKED: ("delete", 1),
    W.PUBLISH_BLIND: ("delete", 1),
    W.JOB_FIRST: ("puts", 0),
    W.HEAD_FIRST: ("delete", 0),
    W.ABORT_PUBLISHED: ("rollback", 2),
    W.NO_GAPS: ("puts", 1),
    W.PLAN_WITHOUT_GAPS: ("three", 1),
    W.CLOSE_ALWAYS: ("delete", 1),
    W.CLOSE_OPEN_ONLY: ("same", 1),
    W.OVERWRITE: ("same", 1),
    W.IDS_WITHOUT_ATTEMPT: ("same", 0),
    W.NO_VERIFY: ("rollback", 1),
    W.CLEAN_BY_HEAD: ("delete", 0),
    W.CLEAN_WITHOUT_REOPENING: ("same", 1),
    W.RETIRE_EARLY: ("same", 1),
    W.STAGE_FROM_MAIN: ("move", 0),
    W.MIRROR_FIRST: ("puts", 0),
    W.BRANCH_DROPPED_FIRST: ("puts", 0),
    W.OWN_BRANCH_ONLY: ("same", 1),
    W.ACK_ON_TAKE: ("same", 1),
    W.PRUNE_GAPS: ("prune", 1),
    W.PRUNE_GAPS_FIRST: ("prune", 1),
    W.PRUNE_UNMARKED: ("prune", 0),
    W.PRUNE_AT_ONCE: ("prune and rollback", 1),
    W.PRUNE_UNPINNED: ("prune and rollback", 0),
    W.ANY_ORDER: ("delete", 0),
    W.NUMBERS: ("same", 0),
    W.ALL_NUMBERS: ("move", 0),
}

# Second lines of defence. The head cannot move while an attempt is active, so checking the attempt checks the head; and as long as a job is
# not ended, the head is the same for all its attempts, and so is what they find and write.
IMPLIED = (W.HEAD_UNCHECKED, W.END_UNCHECKED, W.ATTEMPT_REVIVED)

# Numbers by path in place of the order: as they were once, they fail in all of these; at their best (ALL_NUMBERS), in the last.
BY_PATH = ("same", "rollback", "mirror", "move")
