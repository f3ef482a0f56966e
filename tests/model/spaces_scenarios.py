"""What the model of spaces is run on."""

from __future__ import annotations

from tests.model.scenarios import put
from tests.model.spaces_states import NEW, OLD, Scenario, Switch, Weakness

W = Weakness

SPACES = {
    # A document that changes while it is filled, then the switch.
    "build": Scenario((put("b"), Switch(NEW)), ("a",), faults=1),
    # A document that is deleted, and one that comes, while both are filled.
    "delete": Scenario((put("", "b"), Switch(NEW)), ("a", "a"), faults=0),
    # What is given up is built again.
    "abort": Scenario((put("b"),), ("a",), faults=0, starts=2, drops=1),
    # The old space goes with the commits that need it.
    "drop": Scenario((Switch(NEW), put("b")), ("a",), faults=0, drops=1, prunes=1),
    # The old space goes at once, from under commits that are kept and an ingest.
    "force": Scenario((Switch(NEW), put("b")), ("a",), faults=0, drops=1, force=True),
    # There and back; the new space is dropped from under a kept commit, and built again.
    "again": Scenario((Switch(NEW), Switch(OLD)), ("a",), faults=0, starts=2, drops=1, force=True),
    "back": Scenario((Switch(NEW), put("b"), Switch(OLD)), ("a",), faults=1),
}

# For `python -m tests.model --spaces`: minutes each, and all memory that two million states take.
LARGE = {
    "build two": Scenario((put("b"), Switch(NEW)), ("a", "a"), faults=1),
    "delete": Scenario((put("", "b"), Switch(NEW)), ("a", "a"), faults=1),
    "abort": Scenario((put("b"),), ("a",), faults=1, starts=2, drops=1),
    "drop": Scenario((Switch(NEW), put("b")), ("a",), faults=1, drops=1, prunes=1),
    "force": Scenario((Switch(NEW), put("b")), ("a",), faults=1, drops=1, force=True),
    "again": Scenario((Switch(NEW), put("b"), Switch(OLD)), ("a",), faults=0, starts=2, drops=1, force=True),
}

_ABORT = Scenario((put("b"),), ("a",), faults=1, starts=2, drops=1)

# Where a counterexample is found.
SPACES_COUNTEREXAMPLES = {
    W.ONE_WRITE: SPACES["delete"],
    W.PLAN_AT_HEAD: SPACES["build"],
    W.STALE_FILL: SPACES["build"],
    W.CURSOR_FIRST: SPACES["build"],
    W.FILL_UNCHECKED: LARGE["build two"],
    W.FILL_UNCOUNTED: SPACES["build"],
    W.VERSION_UNCHECKED: SPACES["drop"],
    W.FILL_VERSION_UNCHECKED: SPACES["abort"],
    W.SWITCH_EARLY: SPACES["build"],
    W.ONE_SPACE_AFTER: SPACES["drop"],
    W.DROP_NEEDED: SPACES["drop"],
    W.READ_REBUILT: SPACES["again"],
    W.DELETE_AT_ONCE: _ABORT,
    W.BUILD_AT_ONCE: SPACES["abort"],
    W.CLEAN_ONE: SPACES["build"],
    W.CLEAN_REGISTERED: SPACES["abort"],
    W.FILL_AS_GAP: SPACES["build"],
}

# A filler that looks at nothing writes nothing twice, for it reads the space first; it only does again what was done.
SPACES_IMPLIED = (W.FILL_BLIND,)
