"""Damage of many kinds, done to a real data directory behind ragstone's back, and what the doctor makes of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdrant_edge import EdgeShard, Point, Record, ScrollRequest, UpdateOperation

from ragstone.adapters.data_directory import open_data_directory
from ragstone.adapters.disk_space import DiskSpace
from ragstone.adapters.file_staging import FileStaging
from ragstone.adapters.git import GitVersionStore
from ragstone.adapters.in_process_queue import InProcessJobQueue
from ragstone.adapters.qdrant_edge import QdrantEdgeIndex
from ragstone.adapters.sqlite_acls import SqliteAcls
from ragstone.adapters.sqlite_catalog import SqliteCatalog
from ragstone.adapters.sqlite_dead_letters import SqliteDeadLetters
from ragstone.adapters.sqlite_interactions import SqliteInteractionLog
from ragstone.domain.documents import content_hash
from ragstone.domain.errors import DataDirectoryError
from ragstone.domain.findings import CheckReport, FindingKind
from ragstone.domain.ids import chunk_id, new_id
from ragstone.domain.jobs import ChangeRequest, Delete, Job
from ragstone.domain.uploads import IngestRequest
from ragstone.ports.vector_index import VectorIndex
from ragstone.use_cases.answer import Answering
from ragstone.use_cases.answerability import Calibrations
from ragstone.use_cases.doctor.words import finding
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.platform import Adapters, Platform, assemble
from ragstone.use_cases.prompts import Prompts
from tests.fakes.document_parser import ParagraphParser
from tests.fakes.embedding_model import HashingEmbeddingModel
from tests.fakes.generator import ScriptedGenerator
from tests.support.checkup import NAME, fill, picture, upload
from tests.support.portrait import Portrait

FAILED = 4  # the attempt of `fill` that came to nothing
_DIMENSION = 32

OnFiles = Callable[[Path], Awaitable[None]]
Live = Callable[[Platform, Path], Awaitable[None]]


@dataclass(frozen=True)
class Damage:
    """`files` is done to a closed directory, `live` to an open one (what a start would mend by itself). `revision`: of the model it is opened with."""

    kind: str
    expected: frozenset[FindingKind]
    repairable: bool
    files: OnFiles | None = None
    live: Live | None = None
    working: bool = True
    revision: str = "1"


@dataclass(frozen=True)
class DamageResult:
    """`detected`: the expected findings were made. `repaired`: afterwards no finding was left, and every commit answers as before the damage.
    `explained`: what can't be repaired was said to be so, with what to do."""

    kind: str
    detected: bool
    repairable: bool
    repaired: bool
    explained: bool


@asynccontextmanager
async def opened(
    directory: Path, *, working: bool = True, revision: str = "1", index: VectorIndex | None = None
) -> AsyncIterator[Platform]:
    """The embedded platform over the directory. `working` False: jobs wait. `index`: another one than Edge."""
    data = open_data_directory(directory)
    embedder = HashingEmbeddingModel(_DIMENSION, revision=revision)
    try:
        adapters = Adapters(
            SqliteCatalog(data.database),
            GitVersionStore(data.versions),
            index or QdrantEdgeIndex(data.index),
            FileStaging(data.staging),
            InProcessJobQueue(),
            ParagraphParser(),
            embedder,
            SqliteInteractionLog(data.database),
            SqliteDeadLetters(data.database),
            SqliteAcls(data.database),
            storage=DiskSpace(directory),
        )
        platform = assemble(adapters, Answering(embedder, ScriptedGenerator(), Prompts(), Calibrations()), Limits(), "test")
        try:
            await (platform.start() if working else platform.recovery.start())
            yield platform
        finally:
            await platform.close(0)
    finally:
        data.close()


async def undamaged(directory: Path) -> Portrait:
    """Makes a directory with a history; its picture."""
    async with opened(directory) as platform:
        await fill(platform)
        await platform.maintenance.idle()
        return await picture(platform)


async def examine(damage: Damage, undamaged_directory: Path, before: Portrait, directory: Path) -> DamageResult:
    """Damages a copy of the undamaged directory and has it checked, repaired, and compared."""
    _copy_directory(undamaged_directory, directory)
    if damage.files is not None:
        await damage.files(directory)
    try:
        async with opened(directory, working=damage.working, revision=damage.revision) as platform:
            if damage.live is not None:
                await damage.live(platform, directory)
            return await _examined(damage, platform, before)
    except DataDirectoryError as error:  # as the command does
        found = finding("unusable-directory", None, error.message)
        return DamageResult(damage.kind, {found.kind} <= damage.expected, damage.repairable, False, bool(found.repair and found.what))


def _copy_directory(source: Path, target: Path) -> None:
    """With `cp`, which keeps holes: an index is nearly nothing else."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


async def _examined(damage: Damage, platform: Platform, before: Portrait) -> DamageResult:
    report = await platform.doctor.run()
    detected = damage.expected <= {one.kind for one in report.findings} and not report.healthy
    mended = await platform.doctor.run(repair=True)
    if not damage.repairable:
        return DamageResult(damage.kind, detected, False, mended.healthy, _explained(report, damage.expected))
    again = await platform.doctor.run()
    repaired = mended.healthy and again.findings == () and await picture(platform) == before
    return DamageResult(damage.kind, detected, True, repaired, all(one.repair for one in report.findings))


def _explained(report: CheckReport, kinds: frozenset[FindingKind]) -> bool:
    return all(one.repair and not one.repairable and not one.repaired for one in report.findings if one.kind in kinds)


def run_damage() -> list[DamageResult]:
    """Every damage in turn."""

    async def run(folder: Path) -> list[DamageResult]:
        before = await undamaged(folder / "undamaged")
        return [await examine(damage, folder / "undamaged", before, folder / f"{number}") for number, damage in enumerate(DAMAGES)]

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(Path(folder)))


# Points


@contextmanager
def _engine(directory: Path) -> Iterator[EdgeShard]:
    (state,) = (directory / "index").glob("*/index.json")
    shard = EdgeShard.load(str(state.parent / f"g{json.loads(state.read_text())['generation']}"))
    try:
        yield shard
        shard.flush()
    finally:
        shard.close()


def _find(shard: EdgeShard, path: str, seq_from: int) -> Record:
    records, _ = shard.scroll(ScrollRequest(limit=1000, with_payload=True, with_vector=True))
    return next(r for r in records if (r.payload or {})["path"] == path and (r.payload or {})["seq_from"] == seq_from)


def _on_point(path: str, seq_from: int, change: Callable[[Record], UpdateOperation]) -> OnFiles:
    async def damage(directory: Path) -> None:
        with _engine(directory) as shard:
            shard.update(change(_find(shard, path, seq_from)))

    return damage


def _edit(**payload: Any) -> Callable[[Record], UpdateOperation]:
    return lambda record: UpdateOperation.set_payload([record.id], payload)


def _blank(record: Record) -> UpdateOperation:
    named: Any = record.vector
    return UpdateOperation.upsert_points([Point(record.id, {**named, "dense": [0.0] * _DIMENSION}, record.payload)])


def _copy(**fields: Any) -> Callable[[Record], UpdateOperation]:
    """A second point, with the id that a writer would have given it."""

    def make(record: Record) -> UpdateOperation:
        payload = {**(record.payload or {}), **fields}
        payload["facets"] = [facet.replace("a.txt", payload["path"]) for facet in payload["facets"]]
        hashed = content_hash(tuple(payload["heading_path"]), payload["text"])
        id_ = chunk_id(payload["path"], hashed, payload["occurrence"], payload["seq_from"])
        vectors: Any = record.vector
        return UpdateOperation.upsert_points([Point(uuid.UUID(id_), vectors, payload)])

    return make


async def _overlap(directory: Path) -> None:
    async with opened(directory) as platform:
        third = await platform.adapters.catalog.commit_at_position(NAME, 3)
    await _on_point("c.txt", 2, _copy(seq_from=third.seq, commit_id=third.id))(directory)


# Files


def _index(directory: Path) -> Path:
    (folder,) = (entry for entry in (directory / "index").iterdir() if not entry.name.startswith("."))
    return folder


async def _lose_index(directory: Path) -> None:
    shutil.rmtree(_index(directory))


async def _lose_segments(directory: Path) -> None:
    for segments in _index(directory).glob("g*/segments"):
        shutil.rmtree(segments)


async def _lose_description(directory: Path) -> None:
    (_index(directory) / "index.json").unlink()


async def _cut_pack(directory: Path) -> None:
    newest = max((directory / "versions").glob("*.git/objects/pack/*.pack"), key=lambda pack: pack.stat().st_mtime_ns)
    with newest.open("r+b") as file:
        file.truncate(newest.stat().st_size // 3)


async def _cut_database(directory: Path) -> None:
    database = directory / "ragstone.db"
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size - 3 * 4096 - 100)


async def _overwrite_page(directory: Path) -> None:
    """Of a table that a start does not read."""
    with closing(sqlite3.connect(directory / "ragstone.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'feedback'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with (directory / "ragstone.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


async def _break_format(directory: Path) -> None:
    (directory / "FORMAT").write_bytes(b"\x00\xff")


# A running platform


def _repository(directory: Path) -> Path:
    (repository,) = (directory / "versions").glob("*.git")
    return repository


async def _lose_main(_: Platform, directory: Path) -> None:
    repository = _repository(directory)
    (repository / "refs" / "heads" / "main").unlink()
    (repository / "packed-refs").unlink(missing_ok=True)


async def _leave_branch(_: Platform, directory: Path) -> None:
    heads = _repository(directory) / "refs" / "heads"
    (heads / "attempt").mkdir(exist_ok=True)
    shutil.copy(heads / "main", heads / "attempt" / "99")


async def _lose_bytes(platform: Platform, directory: Path) -> None:
    job = await platform.ingest.submit(NAME, IngestRequest((upload("new.txt", "never read"),)))
    shutil.rmtree(directory / "staging" / job.id)


async def _leave_bytes(_: Platform, directory: Path) -> None:
    folder = directory / "staging" / ("0" * 26)
    folder.mkdir()
    (folder / ("a" * 64)).write_bytes(b"left over")


async def _forget_job(platform: Platform, _: Path) -> None:
    request = ChangeRequest((Delete("never-there.txt"),))
    await platform.adapters.catalog.accept(Job(new_id(), NAME, 0, request, "local", "queued", 0.0))


def _kinds(*kinds: FindingKind) -> frozenset[FindingKind]:
    return frozenset(kinds)


DAMAGES: Sequence[Damage] = (
    Damage(
        "deleted point", _kinds("missing-points"), True, _on_point("a.txt", 1, lambda record: UpdateOperation.delete_points([record.id]))
    ),
    Damage("edited payload", _kinds("malformed-points", "missing-points"), True, _on_point("a.txt", 1, _edit(text="edited"))),
    Damage("edited vector", _kinds("malformed-points"), True, _on_point("a.txt", 1, _blank)),
    Damage("ghost point of a failed attempt", _kinds("ghost-points"), True, _on_point("a.txt", 1, _copy(seq_from=FAILED))),
    Damage("point of no document", _kinds("orphan-points"), True, _on_point("a.txt", 1, _copy(path="z.txt"))),
    Damage("overlapping interval", _kinds("overlapping-points"), True, _overlap),
    Damage("closed by a failed attempt", _kinds("ghost-points", "missing-points"), True, _on_point("c.txt", 2, _edit(seq_to=FAILED))),
    Damage("never closed", _kinds("stale-points"), True, _on_point("a.txt", 1, _edit(seq_to=2**62))),
    Damage("lost index", _kinds("lost-index"), True, _lose_index),
    Damage("lost segments", _kinds("broken-index"), True, _lose_segments),
    Damage("lost description of the index", _kinds("lost-index"), True, _lose_description),
    Damage("lost main branch", _kinds("lost-main"), True, live=_lose_main),
    Damage("orphan branch", _kinds("orphan-branch"), True, live=_leave_branch),
    Damage("leftover staging", _kinds("leftover-bytes"), True, live=_leave_bytes),
    Damage("job that nobody works on", _kinds("stuck-job"), True, live=_forget_job),
    Damage("lost Git objects", _kinds("unreadable-commit"), False, _cut_pack),
    Damage("truncated database", _kinds("unusable-directory"), False, _cut_database),
    Damage("overwritten database page", _kinds("damaged-catalog"), False, _overwrite_page),
    Damage("damaged FORMAT", _kinds("unusable-directory"), False, _break_format),
    Damage("swapped model", _kinds("other-model"), False, revision="2"),
    Damage("lost bytes of a waiting job", _kinds("lost-bytes"), False, live=_lose_bytes, working=False),
)
