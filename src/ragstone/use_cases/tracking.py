"""One run a published commit, in an experiment of its collection."""

from __future__ import annotations

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.domain.errors import NotFound
from ragstone.domain.tracking import run_of_commit
from ragstone.ports.catalog import Catalog
from ragstone.ports.experiment_tracker import ExperimentTracker


class Tracking:
    """Records commits (`CommitRelay` hands them on)."""

    def __init__(self, catalog: Catalog, tracker: ExperimentTracker) -> None:
        self._catalog = catalog
        self._tracker = tracker

    async def record(self, collection: Collection, commit: Commit) -> None:
        """Stores the commit's run, once. Raises `Unavailable`."""
        try:
            accepted_at = (await self._catalog.job(commit.job_id)).created_at
        except NotFound:  # a restored backup may hold the commit alone
            accepted_at = commit.created_at
        await self._tracker.record(run_of_commit(collection, commit, accepted_at))
