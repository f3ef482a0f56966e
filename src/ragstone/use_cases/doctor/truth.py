"""What an index should hold: the catalog's commits and the version store's texts, cut into chunks.

Sets of kept commits are integers: bit i stands for the i-th kept commit, oldest first.
"""

from __future__ import annotations

import asyncio
import bisect
import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ragstone.domain.collections import Collection
from ragstone.domain.commits import OPEN, Commit
from ragstone.domain.documents import Chunk, DocumentInfo, Metadata
from ragstone.domain.retrieval import IndexedChunk
from ragstone.domain.spaces import EmbeddingSpace
from ragstone.ports.catalog import Catalog, KnownState
from ragstone.ports.embedding_model import EmbeddingModel
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.index_writer import ChangedDocument, batches, chunk_all

_PAGE = 1000
_READ = 64  # texts read at a time

Place = bytes  # a chunk with all that a search may show of it, but who brought it when: a digest
Tell = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True, slots=True)
class Facts:
    """One reading of the catalog, taken before anything else is looked at: what is later than `head` is none of the check-up's business.

    `published`: id by seq of every commit up to the head, pruned ones too. `readable`: the kept ones, oldest first. `filled`: attempts up to the head
    that filled a space, with the id of the commit that was the head then.
    """

    collection: Collection
    head: Commit | None
    published: dict[int, str]
    readable: tuple[Commit, ...]
    states: dict[int, KnownState]
    filled: dict[int, str] = field(default_factory=dict)

    @property
    def seq(self) -> int:
        """The head's."""
        return self.head.seq if self.head else 0

    def settled(self, seq: int) -> bool:
        """Whether a point may begin or end at `seq`."""
        return seq in self.published or seq in self.filled

    def brought_by(self, seq: int) -> str:
        """The commit whose documents were written by a settled attempt."""
        return self.published[seq] if seq in self.published else self.filled[seq]

    def pending(self, seq: int) -> bool:
        """Whether `seq` is of an attempt that runs or is to come, or of an aborted one whose remains are still to be cleaned."""
        state = self.states.get(seq)
        return state == "aborted" or (seq > self.seq and state != "retired")


async def read_facts(catalog: Catalog, name: str) -> Facts:
    """Raises `NotFound`."""
    collection = await catalog.collection(name)
    head = await catalog.head(name)
    commits: list[Commit] = []
    before = head.seq + 1 if head else 0
    while page := await catalog.commits(name, before=before, limit=_PAGE):
        commits += page
        before = page[-1].seq
    readable = tuple(commit for commit in reversed(commits) if commit.pruned_at is None)
    states = await catalog.attempts(name)
    published = {commit.seq: commit.id for commit in reversed(commits)}  # oldest first
    filled: dict[int, str] = {}
    heads = list(published)
    for seq, state in states.items():
        if state == "filled" and (before := bisect.bisect_left(heads, seq)) < len(heads):  # what is later than the head is left alone
            filled[seq] = published[heads[before - 1]]
    return Facts(collection, head, published, readable, states, filled)


@dataclass(slots=True)
class Version:
    """A document as it is in the kept commits `first` to `last`."""

    info: DocumentInfo
    first: int
    last: int
    places: tuple[Place, ...] = ()


@dataclass(slots=True)
class Truth:
    """Which places are to be found at which of `commits`."""

    commits: tuple[Commit, ...]
    versions: dict[str, list[Version]] = field(default_factory=lambda: defaultdict(list))
    expected: dict[Place, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        self.seqs = [commit.seq for commit in self.commits]
        self.gaps = frozenset[int]().union(*(commit.gaps for commit in self.commits))

    seqs: list[int] = field(init=False)
    gaps: frozenset[int] = field(init=False)

    def seen(self, seq_from: int, seq_to: int) -> int:
        """The kept commits at which a point with this validity is visible (`domain.commits.visible`)."""
        first = bisect.bisect_left(self.seqs, seq_from)
        end = bisect.bisect_left(self.seqs, seq_to) if seq_to < OPEN else len(self.seqs)
        found = span(first, end - 1)
        if seq_to in self.gaps:
            found |= self._with_gap(seq_to) & span(first, len(self.seqs) - 1)
        return found & ~self._with_gap(seq_from) if seq_from in self.gaps else found

    def at(self, seq: int) -> int | None:
        """Which kept commit has this seq."""
        at = bisect.bisect_left(self.seqs, seq)
        return at if at < len(self.seqs) and self.seqs[at] == seq else None

    def version(self, path: str, at: int) -> Version | None:
        """The document in a kept commit."""
        return next((version for version in self.versions.get(path, ()) if version.first <= at <= version.last), None)

    def holds(self, path: str, commits: int) -> bool:
        """Whether the document is in any of these commits."""
        return any(span(version.first, version.last) & commits for version in self.versions.get(path, ()))

    def enter(self, versions: Sequence[Version], chunks: Sequence[Sequence[Chunk]]) -> None:
        """Notes which chunks the versions have."""
        for version, of_version in zip(versions, chunks, strict=True):
            version.places = tuple(place(version.info, chunk) for chunk in of_version)
            for known in version.places:
                self.expected[known] |= span(version.first, version.last)

    def _with_gap(self, gap: int) -> int:
        return sum(1 << at for at, commit in enumerate(self.commits) if gap in commit.gaps)


class TruthReader:
    """Reads the truth of one collection and space."""

    def __init__(self, versions: VersionStore, collection: Collection, space: EmbeddingSpace, embedder: EmbeddingModel) -> None:
        self._versions = versions
        self._collection = collection
        self._space = space
        self._embedder = embedder

    async def read(self, commits: Sequence[Commit], tell: Tell) -> Truth:
        """Of the kept commits of the space; each distinct document is cut once."""
        truth = Truth(tuple(commits))
        for at, commit in enumerate(truth.commits):
            await self._commit(truth, at, commit)
        wanted = [version for versions in truth.versions.values() for version in versions]
        done = 0
        for part in batches(wanted, _READ):
            await asyncio.to_thread(truth.enter, part, await self.chunks(truth, part))
            done += len(part)
            tell(done, len(wanted))
        return truth

    async def chunks(self, truth: Truth, versions: Sequence[Version]) -> list[tuple[Chunk, ...]]:
        """The chunks of each version."""
        repo = self._collection.uid
        texts = await asyncio.gather(
            *(self._versions.extracted(repo, truth.commits[version.last].id, version.info.path) for version in versions)
        )
        documents = [ChangedDocument(version.info, text) for version, text in zip(versions, texts, strict=True)]
        return [chunks for _, chunks in await chunk_all(documents, self._embedder, self._space)]

    async def _commit(self, truth: Truth, at: int, commit: Commit) -> None:
        repo = self._collection.uid
        if at == 0:
            after = ""
            while page := await self._versions.documents(repo, commit.id, after=after, limit=_PAGE):
                for info in page:
                    truth.versions[info.path].append(Version(info, 0, len(truth.commits) - 1))
                after = page[-1].path
            return
        changes = await self._versions.diff(repo, truth.commits[at - 1].id, commit.id)
        infos = await self._versions.infos(repo, commit.id, [change.path for change in changes])
        for change in changes:
            versions = truth.versions[change.path]
            if versions and versions[-1].last >= at:
                versions[-1].last = at - 1
            if change.path in infos:
                versions.append(Version(infos[change.path], at, len(truth.commits) - 1))


def span(first: int, last: int) -> int:
    """The commits `first` to `last`; none when `last` is before `first`."""
    return ((1 << (last - first + 1)) - 1) << first if last >= first else 0


def runs(commits: int) -> Iterable[tuple[int, int]]:
    """The unbroken runs of a set of commits, as (first, last)."""
    while commits:
        first = (commits & -commits).bit_length() - 1
        length = (~(commits >> first) & ((commits >> first) + 1)).bit_length() - 1
        yield first, first + length - 1
        commits &= ~span(first, first + length - 1)


def place(info: DocumentInfo, chunk: Chunk) -> Place:
    """Where and what a chunk of a document is."""
    return _digest(info.path, info.title, info.media_type, info.metadata, chunk)


def place_of(chunk: IndexedChunk) -> Place:
    """The same of a stored one."""
    return _digest(chunk.path, chunk.title, chunk.media_type, chunk.metadata, chunk)


def _digest(path: str, title: str | None, media_type: str, metadata: Metadata, chunk: Chunk | IndexedChunk) -> Place:
    values = [(key, _same(metadata[key])) for key in sorted(metadata)]
    parts = (
        path,
        title,
        media_type,
        values,
        chunk.heading_path,
        chunk.text,
        chunk.start,
        chunk.end,
        chunk.page,
        chunk.content_hash,
        chunk.occurrence,
    )
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _same(value: object) -> object:
    """Equal for what Python takes for equal, as the writer does: 1, 1.0 and True."""
    if isinstance(value, float) and not math.isfinite(value):
        return value
    return int(value) if isinstance(value, (bool, float)) and value == int(value) else value
