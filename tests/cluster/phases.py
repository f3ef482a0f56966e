"""How long each phase of a run took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Seconds by phase, in the order in which they ran."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Announces the phase, and keeps how long it took also when it fails."""
        print(f"== {name}", flush=True)
        began = time.monotonic()
        try:
            yield
        finally:
            self.taken[name] = time.monotonic() - began
            print(f"== {name}: {self.taken[name]:.0f} s", flush=True)

    def summary(self) -> str:
        """One line with all phases and their sum."""
        parts = [f"{name} {seconds:.0f} s" for name, seconds in self.taken.items()]
        return f"{', '.join(parts)}; together {sum(self.taken.values()):.0f} s"
