"""Jobs as a principal may see them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ragstone.domain.access import EVERYTHING, Principal, Scope, View, no_job
from ragstone.domain.errors import NotFound
from ragstone.domain.jobs import Job, named_paths, touches_everything
from ragstone.ports.catalog import Catalog
from ragstone.use_cases.snapshots import Snapshots
from ragstone.use_cases.visibility import Visibility


@dataclass(frozen=True, slots=True)
class ShownJob:
    """A job, and the view of its collection that says how much of it is told."""

    job: Job
    view: View


class Jobs:
    """Whoever may see the whole collection sees all of its jobs; others their own, as long as they may see the documents that these name."""

    def __init__(self, catalog: Catalog, visibility: Visibility, snapshots: Snapshots) -> None:
        self._catalog = catalog
        self._snapshots = snapshots
        self._visibility = visibility

    async def get(self, job_id: str, principal: Principal) -> ShownJob:
        """Raises `NotFound`."""
        job = await self._catalog.job(job_id)
        try:
            view = await self._visibility.view_of(job.collection, principal)
        except NotFound:
            raise no_job(job_id) from None
        if not _shows(view, job, principal):
            raise no_job(job_id)
        self._snapshots.told(job)
        return ShownJob(job, view)

    async def page(self, name: str | None, principal: Principal, *, before: str | None = None, limit: int = 50) -> list[ShownJob]:
        """Those of one collection, or of all that the principal may read, newest first. Raises `NotFound` for the collection."""
        views = {}
        if name is not None:
            views[name] = await self._visibility.view_of(name, principal)
        else:
            for collection in await self._catalog.collections():
                if principal.may(Scope.READ, collection.name):
                    views[collection.name] = await self._visibility.view(collection, principal)
        if name is None and principal.may(Scope.READ) and all(view.whole for view in views.values()):
            return [ShownJob(job, EVERYTHING) for job in await self._catalog.jobs(before=before, limit=limit)]
        found = [ShownJob(job, view) for of, view in views.items() for job in await self._of(of, view, principal, before, limit)]
        return sorted(found, key=lambda shown: shown.job.id, reverse=True)[:limit]  # ids are in order of time, across collections too

    async def _of(self, name: str, view: View, principal: Principal, before: str | None, limit: int) -> Collection[Job]:
        found: list[Job] = []
        while len(found) < limit:
            try:
                page = await self._catalog.jobs(name, before=before, limit=limit)
            except NotFound:  # deleted meanwhile
                return []
            if not page:
                break
            found += [job for job in page if _shows(view, job, principal)]
            before = page[-1].id
        return found


def _shows(view: View, job: Job, principal: Principal) -> bool:
    if view.whole:
        return True
    return job.principal == principal.name and not touches_everything(job.request) and view.shows_all(named_paths(job))
