"""Counts what principals use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ragstone.domain.usage import Charge


class UsageMeter(Protocol):
    """Contract: a count of what was used in the window of time that runs, by principal and by what it is of.

    - `use` counts all charges and returns None; or, where one of them would go beyond what is allowed, counts none and returns the charge with the
      seconds until its window ends. Of calls at the same time, no more pass than are allowed together.
    - Raises `Unavailable` when it can't be counted now.
    """

    async def use(self, principal: str, charges: Sequence[Charge]) -> tuple[Charge, float] | None: ...

    async def close(self) -> None: ...
