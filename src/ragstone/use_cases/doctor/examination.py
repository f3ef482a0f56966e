"""Compares the points of one index with the truth, and works out the least that must be written to make them equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ragstone.domain.commits import OPEN
from ragstone.domain.documents import content_hash
from ragstone.domain.findings import FindingKind
from ragstone.domain.ids import chunk_id
from ragstone.domain.retrieval import IndexedChunk, StoredPoint
from ragstone.use_cases.doctor.truth import Facts, Place, Truth, place_of, runs, span


@dataclass(frozen=True, slots=True)
class Target:
    """A point that shall be written: a place, from the seq of a commit to another. `at`: a kept commit that holds it. `checksum`: of an existing one."""

    place: Place
    path: str
    at: int
    seq_from: int
    seq_to: int
    checksum: str | None


@dataclass(slots=True)
class Repairs:
    """Points to be written over whatever is there, and ids to be deleted."""

    targets: list[Target] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.targets or self.deleted)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a document's points. `commits`: where it shows; none when nobody sees it."""

    kind: FindingKind
    path: str
    commits: int


@dataclass(slots=True)
class _Known:
    """A point that has a place. `seq_to` is OPEN where nothing published has closed it. `rewrite`: it can't stay as it is."""

    id: str
    path: str
    seq_from: int
    seq_to: int
    checksum: str
    seen: int
    rewrite: bool


class Examination:
    """Takes points page by page (`add`); `faults` and `repairs` are complete after `finish`."""

    def __init__(self, facts: Facts, truth: Truth) -> None:
        self.faults: list[Fault] = []
        self.repairs = Repairs()
        self.points = 0
        self._facts = facts
        self._truth = truth
        self._known: dict[Place, list[_Known]] = defaultdict(list)
        self._joined = _joined(facts, truth)

    def add(self, points: Iterable[StoredPoint]) -> None:
        """Sorts points by place. Those of attempts later than the head, or that recovery still has to clean, are left alone."""
        for point in points:
            self.points += 1
            seq_from = point.seq_from
            if seq_from is not None and self._facts.pending(seq_from):
                continue
            if seq_from is not None and not self._facts.settled(seq_from):
                self._delete("ghost-points", point)
            elif point.chunk is None or not self._is_itself(point.chunk):
                self._delete("malformed-points", point)
            else:
                self._keep(point, point.chunk)

    def finish(self) -> None:
        """Compares place by place."""
        truth = self._truth
        for known, found in self._known.items():
            self._settle(known, found, truth.expected.get(known, 0))
        for path, versions in truth.versions.items():
            for version in versions:
                for wanted in version.places:
                    if wanted not in self._known:
                        self._known[wanted] = []  # once
                        self._missing(wanted, path, truth.expected[wanted])

    def _is_itself(self, chunk: IndexedChunk) -> bool:
        """Whether hash, id and commit are those of its text, its place and its beginning."""
        return chunk.content_hash == content_hash(chunk.heading_path, chunk.text) and chunk.id == chunk_id(
            chunk.path, chunk.content_hash, chunk.occurrence, chunk.seq_from
        )

    def _keep(self, point: StoredPoint, chunk: IndexedChunk) -> None:
        facts, truth = self._facts, self._truth
        seq_to = OPEN if chunk.seq_to == OPEN or facts.pending(chunk.seq_to) else chunk.seq_to
        seen = truth.seen(chunk.seq_from, chunk.seq_to if chunk.seq_to <= facts.seq else OPEN)
        dangling = seq_to != OPEN and (not facts.settled(seq_to) or seq_to <= chunk.seq_from)
        if dangling:
            self._fault("ghost-points", chunk.path, seen)
        checksum = self._checksum(chunk)
        foreign = chunk.commit_id != facts.brought_by(chunk.seq_from) or checksum != chunk.checksum
        if foreign or not point.vector_ok:
            self._fault("malformed-points", chunk.path, seen)
        rewrite = dangling or foreign or not point.vector_ok
        self._known[place_of(chunk)].append(_Known(chunk.id, chunk.path, chunk.seq_from, seq_to, checksum, seen, rewrite))

    def _checksum(self, chunk: IndexedChunk) -> str:
        """The document's, in the commit that brought the chunk; what the chunk says where that commit is not kept."""
        truth = self._truth
        at = truth.at(chunk.seq_from)
        version = truth.version(chunk.path, at) if at is not None else None
        return version.info.checksum if version else chunk.checksum

    def _settle(self, wanted: Place, found: list[_Known], expected: int) -> None:
        """One place: which points stay, which are cut or stretched, which go, and what is missing."""
        path = found[0].path
        seen = twice = 0
        for point in found:
            if wrong := point.seen & ~expected:
                self._fault("stale-points" if self._truth.holds(path, wrong) else "orphan-points", path, wrong)
            twice |= seen & point.seen
            seen |= point.seen
        if twice & expected:
            self._fault("overlapping-points", path, twice & expected)
        if absent := expected & ~seen:
            self._fault("missing-points", path, absent)
        if seen == expected and not twice and not any(point.rewrite for point in found):
            return
        self._repair(wanted, path, found, expected)

    def _repair(self, wanted: Place, path: str, found: list[_Known], expected: int) -> None:
        """Points that are right stay; others are cut down to where they are right, or go; then holes are filled."""
        taken = 0
        staying: list[tuple[_Known, int, int]] = []  # with the first and the last commit where it shall be seen
        doubtful: list[_Known] = []
        for point in sorted(found, key=lambda known: (-known.seen.bit_count(), known.seq_from)):
            if (
                point.seen & -point.seen & self._joined & expected << 1
            ):  # it begins where the passage was already: an earlier one must go on
                self.repairs.deleted.append(point.id)
            elif point.rewrite or point.seen & (~expected | taken):
                doubtful.append(point)
            elif point.seen:
                taken |= point.seen
                staying.append((point, _first(point.seen), point.seen.bit_length() - 1))
        for point in sorted(doubtful, key=lambda known: known.seq_from):
            first = _first(point.seen)
            free = expected & ~taken
            if first < 0 or not free >> first & 1:
                self.repairs.deleted.append(point.id)
                continue
            last = next(end for begin, end in runs(free & ~span(0, first - 1)))
            last = min(last, point.seen.bit_length() - 1)
            taken |= span(first, last)
            staying.append((replace(point, rewrite=True), first, last))
        self._write(wanted, path, staying, expected & ~taken)

    def _write(self, wanted: Place, path: str, staying: list[tuple[_Known, int, int]], holes: int) -> None:
        ends = {last: index for index, (_, _, last) in enumerate(staying)}
        for first, last in runs(holes):
            if first - 1 in ends:
                index = ends[first - 1]
                point, begin, _ = staying[index]
                staying[index] = (replace(point, rewrite=True), begin, last)
            else:
                seq = self._truth.seqs[first]
                self.repairs.targets.append(Target(wanted, path, first, seq, self._end(last, None), None))
        for point, first, last in staying:
            if point.rewrite:
                self.repairs.targets.append(Target(wanted, path, first, point.seq_from, self._end(last, point.seq_to), point.checksum))

    def _missing(self, wanted: Place, path: str, expected: int) -> None:
        self._fault("missing-points", path, expected)
        self._write(wanted, path, [], expected)

    def _end(self, last: int, known: int | None) -> int:
        """The seq that closes a point last seen at a kept commit; the one it has, if that will do."""
        seqs = self._truth.seqs
        if last == len(seqs) - 1:
            return OPEN
        if known is not None and seqs[last] < known <= seqs[last + 1] and self._facts.settled(known):
            return known
        return seqs[last + 1]

    def _delete(self, kind: FindingKind, point: StoredPoint) -> None:
        chunk = point.chunk
        seen = self._truth.seen(point.seq_from, point.seq_to) if point.seq_from is not None and point.seq_to is not None else 0
        self._fault(kind, chunk.path if chunk else "", seen)
        self.repairs.deleted.append(point.id)

    def _fault(self, kind: FindingKind, path: str, commits: int) -> None:
        self.faults.append(Fault(kind, path, commits))


def _first(commits: int) -> int:
    """The first of a set of commits; -1 when there is none."""
    return (commits & -commits).bit_length() - 1


def _joined(facts: Facts, truth: Truth) -> int:
    """The kept commits whose predecessor is kept too: what is in both is one point, opened by the first or before."""
    published = sorted(facts.published)
    before = dict(zip(published[1:], published, strict=False))
    return sum(1 << at for at, seq in enumerate(truth.seqs) if at and before.get(seq) == truth.seqs[at - 1])
