"""An experiment tracker in a dict."""

from __future__ import annotations

from ragstone.domain.tracking import Run


class InMemoryTracker:
    """Implements `ExperimentTracker`."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], Run] = {}

    async def record(self, run: Run) -> None:
        self._runs.setdefault((run.experiment, run.key), run)

    async def runs(self, experiment: str, *, limit: int = 50) -> list[Run]:
        found = [run for run in self._runs.values() if run.experiment == experiment]
        return sorted(found, key=lambda run: (run.began_at, run.key), reverse=True)[:limit]

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass
