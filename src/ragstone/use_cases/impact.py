"""Impact: which logged answers cite passages that one commit changed or removed against another."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ragstone.domain.access import EVERYTHING, LOCAL, Principal, View
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit, DocumentChange, Snapshot
from ragstone.domain.interactions import PURGED, CitedChunk, Interaction, InteractionFilter
from ragstone.domain.logged import passage_hash
from ragstone.domain.retrieval import IndexedChunk
from ragstone.ports.catalog import Catalog
from ragstone.ports.interaction_log import InteractionLog
from ragstone.ports.vector_index import VectorIndex
from ragstone.ports.version_store import VersionStore
from ragstone.use_cases.logged_interactions import LoggedInteractions
from ragstone.use_cases.snapshots import Snapshots
from ragstone.use_cases.visibility import Visibility

_Content = tuple[str, str]  # path, content hash


@dataclass(frozen=True, slots=True)
class AffectedCitation:
    """A citation whose passage is not there any more. `old_text`: the passage as it was answered from, None where it was not kept.

    `new_text`: what the document has instead, the passage most like the old one; None when the document was removed, or there is no old text.
    """

    citation: Mapping[str, Any]
    document: Literal["changed", "removed"]
    old_text: str | None
    new_text: str | None


@dataclass(frozen=True, slots=True)
class AffectedAnswer:
    """A logged answer with those of its citations that are affected."""

    interaction: Interaction
    citations: tuple[AffectedCitation, ...]


@dataclass(frozen=True, slots=True)
class ImpactPage:
    """`documents`: how many were changed or removed. `next`: `before` of the next page, None on the last one. `view`: whose page it is."""

    before: Commit
    after: Commit
    documents: int
    answers: tuple[AffectedAnswer, ...]
    next: str | None
    view: View = EVERYTHING


class Impact:
    """Looks up answers by what they cite: the cost follows the change and the answers that it affects, not the log."""

    def __init__(
        self,
        catalog: Catalog,
        versions: VersionStore,
        index: VectorIndex,
        log: InteractionLog,
        snapshots: Snapshots,
        visibility: Visibility,
        logged: LoggedInteractions,
    ) -> None:
        self._catalog = catalog
        self._versions = versions
        self._index = index
        self._log = log
        self._snapshots = snapshots
        self._visibility = visibility
        self._logged = logged

    async def run(
        self, name: str, before: str, after: str, *, older_than: str | None = None, limit: int = 50, principal: Principal = LOCAL
    ) -> ImpactPage:
        """Answers, newest first, that cite a passage which `before` has and `after` has not (both as for `as_of`, in any order).

        A passage that only moved within its document, or whose document was ingested anew, is the same one. `older_than`: `next` of the page
        before. Raises `NotFound` and `Gone` for the commits.
        """
        first, second = await self._snapshots.commit(name, before), await self._snapshots.commit(name, after)
        collection = await self._catalog.collection(name)
        view = await self._visibility.view(collection, principal)
        async with self._snapshots.reading(collection, *(Snapshot.of(commit, was_head=False) for commit in (first, second))):
            changes = [change for change in await self._versions.diff(collection.uid, first.id, second.id) if view.shows(change.path)]
            paths = [change.path for change in changes if change.kind != "added"]
            left = await self._chunks(collection, second, _still_there(changes))
            gone = _contents(await self._chunks(collection, first, paths)) - _contents(left)
            affected = await self._affected(collection, (first, second), gone)
            found = (
                await self._logged.page(InteractionFilter(name, chunks=frozenset(affected)), principal, before=older_than, limit=limit + 1)
                if affected
                else []
            )
        following = found[limit - 1].id if len(found) > limit else None
        answers = await asyncio.to_thread(_answers, found[:limit], affected, left)
        return ImpactPage(first, second, len(paths), answers, following, view)

    async def _chunks(self, collection: Collection, commit: Commit, paths: Sequence[str]) -> list[IndexedChunk]:
        if not paths:
            return []
        return await self._index.visible(collection.index_name(commit.space_id), commit.seq, commit.gaps, paths)

    async def _affected(self, collection: Collection, commits: Sequence[Commit], gone: set[_Content]) -> set[str]:
        """Ids of cited chunks with a content that is gone. One that was opened later is not meant: its content came back."""
        cited = await self._log.cited(collection.name, sorted({path for path, _ in gone}))
        known: dict[str, IndexedChunk] = {}
        for space in {commit.space_id for commit in commits}:
            known |= await self._index.chunks(collection.index_name(space), [chunk.chunk_id for chunk in cited])
        newest = max(commit.seq for commit in commits)
        affected: set[str] = set()
        for chunk in cited:
            point = known.get(chunk.chunk_id)
            if point is None:  # pruned; its content may have been opened again under another id
                hashed = await self._logged_hash(collection.name, chunk)
            else:
                hashed = point.content_hash if point.seq_from <= newest else None
            if hashed is not None and (chunk.path, hashed) in gone:
                affected.add(chunk.chunk_id)
        return affected

    async def _logged_hash(self, name: str, chunk: CitedChunk) -> str | None:
        [*found] = await self._log.page(InteractionFilter(name, chunks=frozenset({chunk.chunk_id})), limit=1)
        return passage_hash(found[0], chunk.chunk_id) if found else None


def _still_there(changes: Iterable[DocumentChange]) -> list[str]:
    return [change.path for change in changes if change.kind == "changed"]


def _contents(chunks: Iterable[IndexedChunk]) -> set[_Content]:
    return {(chunk.path, chunk.content_hash) for chunk in chunks}


def _answers(found: Sequence[Interaction], affected: set[str], left: Sequence[IndexedChunk]) -> tuple[AffectedAnswer, ...]:
    by_path: dict[str, list[str]] = {}
    for chunk in left:
        by_path.setdefault(chunk.path, []).append(chunk.text)
    instead: dict[str, str | None] = {}  # by chunk id: many answers cite the same one
    answers = []
    for interaction in found:
        kept = () if "passages" in interaction.redacted else interaction.passages
        texts = {one["chunk_id"]: one["text"] for one in kept if one["text"] != PURGED}
        citations = []
        for citation in interaction.answer["citations"]:
            id_ = citation["chunk_id"]
            if id_ not in affected:
                continue
            old = texts.get(id_)
            if id_ not in instead:
                instead[id_] = None if old is None else _most_similar(old, by_path.get(citation["path"], ()))
            kind: Literal["changed", "removed"] = "changed" if citation["path"] in by_path else "removed"
            citations.append(AffectedCitation(citation, kind, old, instead[id_]))
        answers.append(AffectedAnswer(interaction, tuple(citations)))
    return tuple(answers)


def _most_similar(old: str, texts: Iterable[str]) -> str | None:
    """The text with the largest `difflib` ratio of words; the first of equals. None when there are none."""
    best: str | None = None
    best_ratio = -1.0
    matcher: difflib.SequenceMatcher[str] = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(old.split())
    for text in texts:
        matcher.set_seq1(text.split())
        # Upper bounds first, as difflib.get_close_matches does: most texts need no more.
        if matcher.real_quick_ratio() > best_ratio and matcher.quick_ratio() > best_ratio and (ratio := matcher.ratio()) > best_ratio:
            best, best_ratio = text, ratio
    return best
