"""What principals use, and how much of it they may."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Charge:
    """`amount` more of `what`, of which `allowed` go into a window of so many whole seconds."""

    what: str
    amount: int
    allowed: int
    window: int
