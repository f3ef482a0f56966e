"""`ragstone doctor`: compares what the stores hold with what the catalog says, tells what is wrong, and mends what can be mended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ragstone.domain.errors import DataDirectoryError, RagstoneError
from ragstone.domain.findings import CheckProgress, CheckReport, Finding
from ragstone.ports.catalog import Catalog
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.doctor.points import Points, PointsCheck, Report
from ragstone.use_cases.doctor.stores import Ailment, Cure, Stores
from ragstone.use_cases.doctor.truth import Facts, read_facts
from ragstone.use_cases.doctor.words import finding
from ragstone.use_cases.erasure import Erasure
from ragstone.use_cases.maintenance import Maintenance
from ragstone.use_cases.spaces import Spaces
from ragstone.use_cases.visibility import Visibility

_ROUNDS = 5  # a repair may bring to light what it hid: an index made anew is empty
_LISTED = 1000  # findings of one report
_ORDER = {"error": 0, "warning": 1, "info": 2}
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Checked:
    """One look at one collection. `later`: cures that take the collection's turn themselves."""

    facts: Facts
    ailments: list[Ailment] = field(default_factory=list)
    later: list[Ailment] = field(default_factory=list)
    points: list[PointsCheck] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        return [one.finding for one in (*self.ailments, *self.later)] + [one for check in self.points for one in check.findings]

    @property
    def curable(self) -> bool:
        return any(one.repairable for one in self.findings)


@dataclass(slots=True)
class _Sums:
    collections: int = 0
    commits: int = 0
    documents: int = 0
    points: int = 0


class Doctor:
    """Runs beside readers and writers, who never wait for it; repairs take turns with whatever else deletes (`Maintenance.exclusive`)."""

    def __init__(
        self,
        catalog: Catalog,
        versions: VersionStore,
        index: VectorIndex,
        spaces: Spaces,
        stores: Stores,
        maintenance: Maintenance,
        erasure: Erasure,
        visibility: Visibility,
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._spaces = spaces
        self._stores = stores
        self._maintenance = maintenance
        self._erasure = erasure
        self._visibility = visibility
        self._turn = asyncio.Lock()

    async def watch(self, *, repair: bool = False, collection: str | None = None) -> AsyncGenerator[CheckProgress | CheckReport, None]:
        """How far it is, whenever it got further, then the report. Raises as `run`. Closing it ends the work; what was mended stays so."""
        latest: CheckProgress | None = None
        further = asyncio.Event()

        def report(progress: CheckProgress) -> None:
            nonlocal latest
            latest = progress
            further.set()

        work = asyncio.create_task(self.run(repair=repair, collection=collection, report=report))
        work.add_done_callback(lambda _: further.set())
        try:
            while True:
                await further.wait()
                further.clear()
                if work.done():
                    break
                if latest is not None:
                    yield latest
            yield work.result()
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError, RagstoneError):
                await work

    async def run(self, *, repair: bool = False, collection: str | None = None, report: Report = lambda _: None) -> CheckReport:
        """Checks one collection, or all. Raises `NotFound` for a collection that is not there; everything else that goes wrong is a finding.

        One at a time: a second one waits.
        """
        async with self._turn:
            return await self._run(repair, collection, report)

    async def _run(self, repair: bool, collection: str | None, report: Report) -> CheckReport:
        began, sums = time.monotonic(), _Sums()
        if collection is not None:
            with suppress(DataDirectoryError):  # told below
                await self._catalog.collection(collection)
        report(CheckProgress(None, "catalog"))
        found = await self._whole(repair)
        try:
            names = [one.name for one in await self._catalog.collections()] if collection is None else [collection]
        except RagstoneError as error:
            names = []
            found.append(finding("damaged-catalog", None, error.message))
        for name in names:
            sums.collections += 1
            found += await self._collection(name, repair, report, sums)
        found = list({one.key: one for one in found}.values())
        found.sort(key=lambda one: (one.repaired, _ORDER[one.severity], one.kind, one.collection or "", one.what))
        listed = tuple(found[:_LISTED])
        seconds = time.monotonic() - began
        return CheckReport(listed, len(found) - len(listed), repair, sums.collections, sums.commits, sums.documents, sums.points, seconds)

    async def _whole(self, repair: bool) -> list[Finding]:
        try:
            found = await self._stores.whole()
            if repair and any(one.cure for one in found):
                await self._cure(found)
                return _compared([one.finding for one in found], [one.finding for one in await self._stores.whole()])
        except RagstoneError as error:
            return [finding("damaged-catalog", None, error.message)]
        return [one.finding for one in found]

    async def _collection(self, name: str, repair: bool, report: Report, sums: _Sums) -> list[Finding]:
        points = self._points(report)
        first: list[Finding] | None = None
        left: list[Finding] = []
        checked: _Checked | None = None
        for rounds_left in reversed(range(_ROUNDS)):
            try:
                async with self._maintenance.exclusive(name):
                    checked = await self._look(name, points, report)
                    before, left = left, checked.findings
                    first = left if first is None else first
                    if not repair or not rounds_left or not checked.curable or left == before:
                        break
                    await self._mend(checked, points)
                if checked.later:  # an erasure changes what old commits hold, and with it what was read of them
                    await self._cure(checked.later)
                    points = self._points(report)
            except RagstoneError as error:
                if await self._is_gone(name):
                    return []
                _log.warning("the check-up of %s failed: %s", name, error.message)
                left = [*left, finding("damaged-collection", name, error.message)]
                break
        if checked is not None:
            _add(sums, checked)
            if repair:
                await self._settle(checked.facts)
        return _compared(first or [], left) if repair else left

    async def _settle(self, facts: Facts) -> None:
        """The groups of documents, of which an index that was made anew, or was restored, may have others."""
        try:
            await self._visibility.settle(facts.collection, again=True)
        except RagstoneError as error:
            _log.warning("the groups of documents of %s could not be set in its index: %s", facts.collection.name, error.message)

    def _points(self, report: Report) -> Points:
        return Points(self._catalog, self._versions, self._index, self._spaces, self._visibility, report)

    async def _is_gone(self, name: str) -> bool:
        """Whether the collection was deleted meanwhile."""
        try:
            return name not in [collection.name for collection in await self._catalog.collections()]
        except RagstoneError:
            return False

    async def _look(self, name: str, points: Points, report: Report) -> _Checked:
        report(CheckProgress(name, "versions"))
        facts = await read_facts(self._catalog, name)
        checked = _Checked(facts)
        found, unreadable = await self._stores.commits(facts)
        checked.ailments = [*found, *await self._stores.jobs(facts)]
        for purge in await self._catalog.purges(name):
            if purge.state == "begun":  # whoever is at it holds the collection's turn, which is ours now
                checked.later.append(Ailment(finding("purge-unfinished", name, purge.path), self._erasure.resume))
        for space in facts.collection.spaces:
            checked.points.append(await points.check(facts, space, unreadable))
        return checked

    async def _mend(self, checked: _Checked, points: Points) -> None:
        await self._cure(checked.ailments)
        for check in checked.points:
            await points.repair(checked.facts, check)

    async def _cure(self, ailments: list[Ailment]) -> None:
        """Each by itself: one that fails is found again."""
        for ailment in ailments:
            cure: Cure | None = ailment.cure
            if cure is None:
                continue
            try:
                await cure()
            except RagstoneError as error:
                _log.warning("%s (%s) could not be repaired: %s", ailment.finding.kind, ailment.finding.what, error.message)


def _compared(first: list[Finding], left: list[Finding]) -> list[Finding]:
    """What was found at first, marked as repaired where it is not found any more, and what else is left."""
    still = {one.key for one in left}
    known = {one.key for one in first}
    return [*(replace(one, repaired=one.key not in still) for one in first), *(one for one in left if one.key not in known)]


def _add(sums: _Sums, checked: _Checked) -> None:
    sums.commits += len(checked.facts.readable)
    sums.documents += sum(check.documents for check in checked.points)
    sums.points += sum(check.points for check in checked.points)
