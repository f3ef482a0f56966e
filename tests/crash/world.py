"""A platform over the embedded adapters that can be crashed: with failpoints, clocks that can be moved, and room for a second writer."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ragstone.adapters.data_directory import DataDirectory, open_data_directory
from ragstone.adapters.failpoints import SIDE_EFFECTS, Failpoints
from ragstone.adapters.file_staging import FileStaging
from ragstone.adapters.git import GitVersionStore
from ragstone.adapters.in_process_queue import InProcessJobQueue
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.sqlite_acls import SqliteAcls
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_dead_letters import SqliteDeadLetters
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.domain.spaces import ChunkerSettings
from ragstone.use_cases import retention
from ragstone.use_cases.dead_letters import DeadLetterOffice
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Adapters, Platform, assemble
from ragstone.use_cases.progress import ProgressBoard
from ragstone.use_cases.spaces import Spaces
from ragstone.use_cases.visibility import Visibility
from ragstone.use_cases.write_path import WritePath
from tests.crash import stores
from tests.fakes.document_parser import ParagraphParser
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.support.world import answering

CHUNKER = ChunkerSettings(max_tokens=40, min_tokens=4)  # small: a document of a few sentences has several chunks
OTHER = "2"  # revision of the model of another space
_MEMORY = Path("/dev/shm")  # survives a killed process as a disk does, and a sync costs nothing


class Clock:
    """Seconds from `source`, moved forward by hand."""

    def __init__(self, source: Callable[[], float]) -> None:
        self._source = source
        self._moved = 0.0

    def __call__(self) -> float:
        return self._source() + self._moved

    def move(self, seconds: float) -> None:
        self._moved += seconds


@dataclass(frozen=True)
class CrashWorld:
    """`platform` goes through the failpoints, `bare` are the adapters behind them. `clock` is the catalog's, `own_clock` the first writer's."""

    platform: Platform
    bare: Adapters
    failpoints: Failpoints
    clock: Clock
    own_clock: Clock

    def writer(self, holder: str, adapters: Adapters | None = None, clock: Callable[[], float] = time.monotonic) -> WritePath:
        """Another writer on the same stores."""
        on = adapters or self.bare
        spaces = Spaces(on.embedder, on.parser.versions, CHUNKER, on.further)
        published = self.platform.maintenance.published
        progress = ProgressBoard()
        letters = DeadLetterOffice(on.catalog, on.staging, on.dead_letters, on.queue, progress, holder)
        visibility = Visibility(on.acls, on.catalog, on.index)
        return WritePath(
            on.catalog, on.versions, on.index, on.staging, on.parser, spaces, progress, letters, visibility, published, holder, clock
        )


async def _nobody(name: str) -> None:
    raise AssertionError(f"{name}: nobody waits for this pause")


@asynccontextmanager
async def opened(
    directory: Path, *, failpoints: Failpoints | None = None, optimise_after: int = 10**9, start: bool = True
) -> AsyncIterator[CrashWorld]:
    """The platform over `directory`, recovered and started as `bootstrap` does it, and closed at the end."""
    data = open_data_directory(directory)
    failpoints = failpoints or Failpoints(pause=_nobody)
    clock, own_clock = Clock(time.time), Clock(time.monotonic)
    embedder, other = HashingEmbeddingModel(32), HashingEmbeddingModel(24, revision=OTHER)
    servers = stores.of(directory)
    try:
        bare = servers.adapters(directory, clock, embedder) if servers else _embedded(data, clock, optimise_after, embedder)
        bare = replace(bare, further=(other,))
        wrapped = replace(bare, **{port: failpoints.wrap(port, getattr(bare, port)) for port in SIDE_EFFECTS})
        wrapped = replace(wrapped, further=(failpoints.wrap("embedder", other),))
        platform = assemble(wrapped, answering(embedder, other), Limits(pending_jobs=10_000), "A", CHUNKER, shared=servers is not None)
        platform.builder._grace = retention.GRACE  # a dropped space's index goes soon, over servers too: no request here lasts
        world = CrashWorld(platform, bare, failpoints, clock, own_clock)
        platform = replace(platform, write_path=world.writer("A", wrapped, own_clock))
        world = replace(world, platform=platform)
        try:
            if start:
                await platform.start()
            yield world
        finally:
            await platform.close(0)
    finally:
        data.close()


def _embedded(data: DataDirectory, clock: Clock, optimise_after: int, embedder: HashingEmbeddingModel) -> Adapters:
    return Adapters(
        SqliteCatalog(data.database, clock),
        GitVersionStore(data.versions),
        QdrantEdgeIndex(data.index, optimise_after=optimise_after),
        FileStaging(data.staging),
        InProcessJobQueue(first_pause=0.002, longest_pause=0.05),
        ParagraphParser(),
        embedder,
        SqliteInteractionLog(data.database),
        SqliteDeadLetters(data.database),
        SqliteAcls(data.database),
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for data that need not survive the machine."""
    fast = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 4 * 2**30
    with tempfile.TemporaryDirectory(dir=_MEMORY if fast else None, prefix="ragstone-crash-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


async def soon(condition: Callable[[], Awaitable[bool]], within: float = 10.0) -> bool:
    """Whether `condition` comes true within so many seconds."""
    until = time.monotonic() + within
    while not await condition():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.002)
    return True
