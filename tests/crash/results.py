"""What the crash tests measured."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MatrixResult:
    """`failures`: a line for each cell that did not converge. `names`: failpoints that fired in at least one cell."""

    cells: int
    converged: int
    failures: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class KillResult:
    """`reads` were checked against the version store at their commit, while writers worked and after each recovery.

    `lost`: acknowledged requests that did not end in their order, or not at all. `ghosts`: points, branches or bytes that belong to no published
    commit after a recovery. `mixed`: reads that gave anything but exactly their commit's documents. `notes`: a line for each of these.
    """

    seed: int
    kills: int
    reads: int
    lost: int
    ghosts: int
    mixed: int
    acknowledged: int = 0
    commits: int = 0
    pruned: int = 0
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ZombieResult:
    """`reads` were compared before and after the late write, `reads_changed` of them differed. `remains_*`: points and branches of the late writer."""

    reads: int
    reads_changed: int
    remains: int
    remains_seen: int
    remains_removed: int
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class RefillResult:
    """A space that was filled by processes that were killed. `texts` were embedded, `again` counts those that were more than once; `batch`: as many as a kill
    may cost. `notes`: reads that were not exactly their commit, and what was left at the end.
    """

    seed: int
    kills: int
    texts: int
    again: int
    batch: int
    reads: int
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
