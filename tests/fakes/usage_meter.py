"""Counts in a dictionary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ragstone.domain.usage import Charge


class InMemoryUsage:
    """Implements `UsageMeter`; a window lasts until `counts` is emptied."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    async def use(self, principal: str, charges: Sequence[Charge]) -> tuple[Charge, float] | None:
        for charge in charges:
            if self.counts[principal, charge.what] + charge.amount > charge.allowed:
                return charge, float(charge.window)
        for charge in charges:
            self.counts[principal, charge.what] += charge.amount
        return None

    async def close(self) -> None:
        """Nothing to close."""
