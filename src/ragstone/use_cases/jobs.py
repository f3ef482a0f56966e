"""Jobs as a principal may see them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ragstone.domain.access import EVERYTHING, Principal, Scope, View, no_job
from ragstone.domain.errors import NotFound
from ragstone.domain.jobs import Job, Progress, named_paths, touches_everything
from ragstone.ports.catalog import Catalog
from ragstone.use_cases.build_jobs import BuildJobs
from ragstone.use_cases.snapshots import Snapshots
from ragstone.use_cases.visibility import Visibility


@dataclass(frozen=True, slots=True)
class ShownJob:
    """A job, and the view of its collection that says how much of it is told. `progress`: of the build of a space; None for others, of which `Ingest` knows."""

    job: Job
    view: View
    progress: Progress | None = None


class Jobs:
    """Whoever may see the whole collection sees all of its jobs; others their own, as long as they may see the documents that these name, and no builds of spaces."""

    def __init__(self, catalog: Catalog, visibility: Visibility, snapshots: Snapshots, builds: BuildJobs) -> None:
        self._catalog = catalog
        self._snapshots = snapshots
        self._visibility = visibility
        self.builds = builds

    async def get(self, job_id: str, principal: Principal) -> ShownJob:
        """Raises `NotFound`."""
        progress = None
        try:
            job = await self._catalog.job(job_id)
        except NotFound:
            job, progress = await self.builds.get(job_id)
        try:
            view = await self._visibility.view_of(job.collection, principal)
        except NotFound:
            raise no_job(job_id) from None
        if not _shows(view, job, principal):
            raise no_job(job_id)
        self._snapshots.told(job)
        return ShownJob(job, view, progress)

    async def page(self, name: str | None, principal: Principal, *, before: str | None = None, limit: int = 50) -> list[ShownJob]:
        """Those of one collection, or of all that the principal may read, newest first. Raises `NotFound` for the collection."""
        if name is not None:
            views = {name: await self._visibility.view_of(name, principal)}
            collections = [await self._catalog.collection(name)]
        else:
            collections = [collection for collection in await self._catalog.collections() if principal.may(Scope.READ, collection.name)]
            views = {collection.name: await self._visibility.view(collection, principal) for collection in collections}
        whole = [collection for collection in collections if views[collection.name].whole]
        if name is None and principal.may(Scope.READ) and len(whole) == len(collections):
            found = [ShownJob(job, EVERYTHING) for job in await self._catalog.jobs(before=before, limit=limit)]
        else:
            found = [ShownJob(job, view) for of, view in views.items() for job in await self._of(of, view, principal, before, limit)]
        builds = await self.builds.page(whole, before=before, limit=limit)
        found += [ShownJob(job, EVERYTHING, progress) for job, progress in builds]
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
    own = job.principal == principal.name and job.space_id is None
    return own and not touches_everything(job.request) and view.shows_all(named_paths(job))
