"""Replay: a logged question answered once more, from the very passages of then, beside the old answer."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

from ragstone.domain import logged
from ragstone.domain.access import LOCAL, Principal
from ragstone.domain.answers import Answer, AnswerDone
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Snapshot, visible
from ragstone.domain.conversations import REWRITING
from ragstone.domain.errors import Conflict, Gone, NotFound
from ragstone.domain.interactions import Interaction
from ragstone.domain.redaction import METADATA
from ragstone.domain.reranking import RERANK
from ragstone.domain.retrieval import IndexedChunk, Passage, RetrievalSettings, SearchQuery
from ragstone.domain.sentences import split_sentences
from ragstone.ports.catalog import Catalog
from ragstone.ports.vector_index import VectorIndex
from ragstone.use_cases.answer import Answering, AnswerSettings
from ragstone.use_cases.logged_interactions import LoggedInteractions
from ragstone.use_cases.query import RERANKER_KEYS, Query, QueryDone, Question
from ragstone.use_cases.search import Search
from ragstone.use_cases.snapshots import Snapshots
from ragstone.use_cases.spaces import Spaces
from ragstone.use_cases.visibility import Visibility


@dataclass(frozen=True, slots=True)
class Replayed:
    """The old interaction and the new one.

    `diff`: a unified diff of the two texts, a sentence a line; None where the old text was not kept. `compared`: passages are compared with the
    log by their text, or by their ids alone where their text was not kept; `differing` are the chunk ids of those that are not the same.
    `retrieved`: what the question finds in the old commit now. `retrieval_note`: why it was not looked for.
    """

    interaction: Interaction
    done: QueryDone
    diff: str | None
    citations_added: tuple[Mapping[str, Any], ...]
    citations_removed: tuple[Mapping[str, Any], ...]
    compared: Literal["text", "id"]
    differing: tuple[str, ...]
    retrieved: tuple[str, ...]
    retrieval_note: str = ""

    @property
    def before(self) -> Mapping[str, Any]:
        """The old answer."""
        return self.interaction.answer

    @property
    def after(self) -> Mapping[str, Any]:
        """The new answer."""
        return self.done.interaction.answer

    @property
    def passages_identical(self) -> bool:
        """The new answer was made from exactly what the old one was made from."""
        return not self.differing

    @property
    def retrieval_identical(self) -> bool:
        """The old commit gives the same passages in the same order."""
        return not self.retrieval_note and list(self.retrieved) == [passage["chunk_id"] for passage in self.interaction.passages]


class Replay:
    """Answers logged questions again."""

    def __init__(
        self,
        catalog: Catalog,
        index: VectorIndex,
        logged_interactions: LoggedInteractions,
        snapshots: Snapshots,
        spaces: Spaces,
        search: Search,
        answering: Answering,
        query: Query,
        visibility: Visibility,
    ) -> None:
        self._catalog = catalog
        self._index = index
        self._logged = logged_interactions
        self._visibility = visibility
        self._snapshots = snapshots
        self._spaces = spaces
        self._search = search
        self._answering = answering
        self._query = query

    async def run(self, interaction_id: str, *, principal: Principal = LOCAL) -> Replayed:
        """The question's passages of then, answered with the settings of then by the generator of now; logged as an interaction of its own.

        Raises `NotFound` for the interaction, `Conflict` where its question was not kept or its prompt is not there any more, and `Gone` where
        its collection, commit, embedding space or one of its passages is not there any more.
        """
        began = time.perf_counter()
        old = await self._logged.get(interaction_id, principal)
        if "question" in old.redacted:
            raise Conflict("The question was not kept (interactions.redact), so it can't be asked again.", field="interaction")
        collection, snapshot = await self._place(old)
        question = Question(
            old.collection,
            old.question,
            as_of=old.request.get("as_of"),
            min_commit=old.request.get("min_commit"),
            filter=logged.filter_of(old.request.get("filter")),
            retrieval=logged.settings(RetrievalSettings, old.request.get("retrieval")),
            answer=logged.settings(AnswerSettings, old.request.get("answer")),
            principal=principal,
            replay_of=old.id,
            rewriting=logged.rewriting_of(old.request.get("rewriting")),
        )
        note = _not_comparable(old, question.retrieval, can_rerank=self._search.reranker is not None)
        view = await self._visibility.view(collection, principal)
        async with self._snapshots.reading(collection, snapshot):
            passages = await self._passages(collection, snapshot, old)
            retrieved: tuple[Passage, ...] = ()
            if not note:
                self._spaces.embedder(collection.space(snapshot.space_id))  # vectors of two spaces are never compared
                wanted = SearchQuery(question.asked, question.filter, _then(old, question.retrieval))
                hits = await self._search.find(collection, snapshot, wanted, exact=True, view=view)
                retrieved = hits.passages
                if hits.degraded:
                    note = "it was reranked, and the reranker does not answer now"
        found = time.perf_counter()
        answer = await self._answer(question, collection, snapshot, passages)
        ended = time.perf_counter()
        timings = {"search": (found - began) * 1e3, "generate": (ended - found) * 1e3, "total": (ended - began) * 1e3}
        # A release that follows the head is the same one for every commit of it.
        told = replace(snapshot, was_head=question.as_of in (None, "head"))
        # The passages are those of then, in the order of then, whatever reranks now.
        ranked_by = {key: old.models[key] for key in RERANKER_KEYS if key in old.models}
        degraded = tuple(part for part in old.degraded if part in (REWRITING, RERANK))
        done = await self._query.record(question, collection, told, passages, answer, timings, ranked_by, degraded)
        return _compared(old, done, tuple(passage.chunk.id for passage in retrieved), note)

    async def _place(self, old: Interaction) -> tuple[Collection, Snapshot]:
        if old.purged:
            raise Gone("A document that the answer was made from was purged, so it can't be made again.", field="interaction")
        try:
            collection = await self._catalog.collection(old.collection)
            commit = await self._catalog.commit(old.collection, old.commit_id)
        except NotFound:
            raise Gone(f"The collection {old.collection!r} of then was deleted.", field="interaction") from None
        if not collection.holds(old.space_id, commit.seq):
            raise Gone("The embedding space of then was dropped.", field="interaction")
        return collection, replace(Snapshot.of(commit, was_head=False), space_id=old.space_id)

    async def _passages(self, collection: Collection, snapshot: Snapshot, old: Interaction) -> tuple[Passage, ...]:
        """The logged passages, in the logged order, from the index: each is checked to be of the commit."""
        wanted = [passage["chunk_id"] for passage in old.passages]
        chunks: dict[str, IndexedChunk] = await self._index.chunks(collection.index_name(snapshot.space_id), wanted)
        for id_ in wanted:
            chunk = chunks.get(id_)
            if chunk is None or not visible(chunk.seq_from, chunk.seq_to, snapshot.seq, snapshot.gaps):
                raise Gone("A passage that the answer was made from was purged or pruned, so it can't be made again.", field="interaction")
        return tuple(logged.passage_of(passage, chunks[passage["chunk_id"]]) for passage in old.passages)

    async def _answer(self, question: Question, collection: Collection, snapshot: Snapshot, passages: tuple[Passage, ...]) -> Answer:
        try:
            async with aclosing(self._answering.stream(question.asked, collection, snapshot, passages, question.answer)) as events:
                async for event in events:
                    if isinstance(event, AnswerDone):
                        return event.answer
        except NotFound as error:
            raise Conflict(f"The prompt of then is not there any more: {error.message}", field="prompt") from None
        raise AssertionError("an answer's stream ends with AnswerDone")


def _then(old: Interaction, settings: RetrievalSettings) -> RetrievalSettings:
    """What the search of then came to: a reranker that did not answer reordered nothing."""
    return replace(settings, rerank=0) if RERANK in old.degraded else settings


def _not_comparable(old: Interaction, settings: RetrievalSettings, *, can_rerank: bool) -> str:
    if _then(old, settings).rerank > 0 and not can_rerank:
        return "it was reranked, and there is no reranker now"
    keys = logged.filter_keys(old.request.get("filter"))
    hidden = sorted(key for key in keys if METADATA + key in old.redacted)
    return f"the filter's values of {', '.join(hidden)} were not kept" if hidden else ""


def _compared(old: Interaction, done: QueryDone, retrieved: tuple[str, ...], note: str) -> Replayed:
    new = done.interaction
    by_text = "passages" not in old.redacted
    keys = ("chunk_id", "text", "heading_path") if by_text else ("chunk_id",)
    differing = tuple(
        then["chunk_id"] for then, now in zip(old.passages, new.passages, strict=True) if any(then[key] != now[key] for key in keys)
    )
    before, after = _citations(old), _citations(new)
    return Replayed(
        old,
        done,
        None if "answer" in old.redacted else _diff(old.answer["text"], new.answer["text"]),
        tuple(citation for key, citation in after.items() if key not in before),
        tuple(citation for key, citation in before.items() if key not in after),
        "text" if by_text else "id",
        differing,
        retrieved,
        note,
    )


def _citations(interaction: Interaction) -> dict[tuple[str, int, int], Mapping[str, Any]]:
    return {(one["chunk_id"], one["start"], one["end"]): one for one in interaction.answer["citations"]}


def _diff(before: str, after: str) -> str:
    return "\n".join(difflib.unified_diff(_lines(before), _lines(after), "then", "now", lineterm=""))


def _lines(text: str) -> Sequence[str]:
    return [text[start:end] for start, end in split_sentences(text)]
