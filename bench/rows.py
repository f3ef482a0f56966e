"""The common shape of a benchmark's result: one row, one figure, one bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import eq, ge, le
from typing import Literal, get_args

Op = Literal[">=", "<=", "==", "report"]
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {">=": ge, "<=": le, "==": eq}


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured. `value` in `unit`, over `n` samples; `holds` says whether it meets `bar` under `op` (always, when only reported).

    Of a row that could not be measured `n` is 0, and `note` says why.
    """

    name: str
    value: float
    unit: str
    op: Op
    bar: float | None
    holds: bool
    n: int
    note: str

    @property
    def skipped(self) -> bool:
        """Whether it could not be measured, so that nothing is known of its bar."""
        return self.n == 0


def skipped(name: str, why: str, op: Op = "report", bar: float | None = None) -> Row:
    """A row that can't be measured here, for example because a server is missing."""
    return Row(name, 0.0, "", op, bar, holds=False, n=0, note=why)


def row(name: str, value: float, unit: str, op: Op = "report", bar: float | None = None, n: int = 1, note: str = "") -> Row:
    """A row with `holds` worked out. The value is compared as measured, not as printed; NaN never holds."""
    if op not in get_args(Op):
        raise ValueError(f"unknown op {op!r}")
    if n < 1:
        raise ValueError(f"row {name!r}: nothing was measured; say so with `skipped`")
    if (op == "report") is not (bar is None):
        raise ValueError(f"row {name!r}: a bar goes with >=, <= or ==, and with nothing else")
    holds = value == value if bar is None else _HOLDS[op](value, bar)
    return Row(name, value, unit, op, bar, holds, n, note)
