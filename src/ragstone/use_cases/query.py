"""One question: resolve, search, answer, log (DESIGN.md section 5)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from ragstone.domain.access import LOCAL, Principal
from ragstone.domain.answers import Answer, AnswerDone, PassagesFound, TextDelta, TextWithdrawn
from ragstone.domain.collections import Collection
from ragstone.domain.commits import Snapshot
from ragstone.domain.conversations import REWRITING, Rewriting, Turn
from ragstone.domain.errors import Gone, InvalidInput, TooLarge
from ragstone.domain.filters import Filter
from ragstone.domain.generation import GeneratorIdentity
from ragstone.domain.ids import new_id
from ragstone.domain.interactions import Interaction, Logged
from ragstone.domain.releases import Release
from ragstone.domain.reranking import RerankerIdentity
from ragstone.domain.retrieval import Passage, RetrievalSettings, SearchQuery
from ragstone.ports.interaction_log import InteractionLog
from ragstone.use_cases.answer import Answering, AnswerSettings
from ragstone.use_cases.limits import Limits
from ragstone.use_cases.rendering import answer_json, passage_json
from ragstone.use_cases.search import Hits, Search
from ragstone.use_cases.snapshots import Snapshots
from ragstone.use_cases.spaces import Spaces
from ragstone.use_cases.visibility import Visibility

RERANKER_KEYS = ("reranker", "reranker_revision", "reranker_digest")  # in an interaction's models


@dataclass(frozen=True, slots=True)
class Question:
    """A question to one collection. `as_of` and `min_commit` as for `Snapshots.resolve`.

    `history`: what was said before, the oldest first; with it the question is rewritten into one that stands alone, unless `rewriting` says what became of it.
    """

    collection: str
    text: str
    as_of: str | None = None
    min_commit: str | None = None
    filter: Filter = field(default_factory=Filter)
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    answer: AnswerSettings = field(default_factory=AnswerSettings)
    principal: Principal = LOCAL
    replay_of: str | None = None  # the interaction that is asked again
    history: tuple[Turn, ...] = ()
    rewriting: Rewriting | None = None

    @property
    def asked(self) -> str:
        """What is searched for and answered."""
        return self.rewriting.question if self.rewriting is not None and self.rewriting.question is not None else self.text


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave. `timings` are in milliseconds. `degraded`: what it had to do without."""

    snapshot: Snapshot
    passages: tuple[Passage, ...]
    timings: dict[str, float]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryDone:
    """The last event of a question: the answer, logged as `interaction`, as it was before redaction."""

    interaction: Interaction
    answer: Answer
    passages: tuple[Passage, ...]
    snapshot: Snapshot
    release: Release
    logged: Logged


QueryEvent = PassagesFound | TextDelta | TextWithdrawn | QueryDone


class Query:
    """Answers questions. JSON and SSE are made of the same events."""

    def __init__(
        self,
        snapshots: Snapshots,
        spaces: Spaces,
        search: Search,
        answering: Answering,
        log: InteractionLog,
        limits: Limits,
        visibility: Visibility,
        *,
        shared: bool = False,
    ) -> None:
        self._snapshots = snapshots
        self._spaces = spaces
        self._search = search
        self._answering = answering
        self._log = log
        self._limits = limits
        self._visibility = visibility
        self._shared = shared  # other processes purge, too

    @property
    def generator(self) -> GeneratorIdentity:
        """What writes the answers."""
        return self._answering.generator

    @property
    def reranker(self) -> RerankerIdentity | None:
        """What reorders passages; None: nothing."""
        return self._search.reranker

    async def search(self, question: Question) -> Found:
        """Passages only; nothing is generated or logged."""
        self._check(question)
        began = time.perf_counter()
        _, snapshot, hits = await self._read(question)
        return Found(
            snapshot, hits.passages, {"search": _milliseconds(began), **_rerank_time(hits), "total": _milliseconds(began)}, hits.degraded
        )

    async def stream(self, question: Question) -> AsyncGenerator[QueryEvent, None]:
        """`PassagesFound`, `TextDelta`s, perhaps `TextWithdrawn` and others, then `QueryDone` once the interaction is stored."""
        self._check(question)
        began = time.perf_counter()
        question = await self._standalone(question)
        rewritten = time.perf_counter()
        collection, snapshot, hits = await self._read(question)
        found = time.perf_counter()
        answer: Answer | None = None
        async with aclosing(self._answering.stream(question.asked, collection, snapshot, hits.passages, question.answer)) as events:
            async for event in events:
                if isinstance(event, AnswerDone):
                    answer = event.answer
                else:
                    yield event
        if answer is None:
            raise AssertionError("an answer's stream ends with AnswerDone")
        rewrite = {"rewrite": (rewritten - began) * 1e3} if question.rewriting is not None else {}
        timings = {
            **rewrite,
            "search": (found - rewritten) * 1e3,
            **_rerank_time(hits),
            "generate": _milliseconds(found),
            "total": _milliseconds(began),
        }
        ranked_by = _reranker_names(self._search.reranker) if hits.reranked else {}
        degraded = ((REWRITING,) if question.rewriting is not None and question.rewriting.failed else ()) + hits.degraded
        yield await self.record(question, collection, snapshot, hits.passages, answer, timings, ranked_by, degraded)

    async def run(self, question: Question) -> QueryDone:
        """The last event of `stream`."""
        async with aclosing(self.stream(question)) as events:
            async for event in events:
                if isinstance(event, QueryDone):
                    return event
        raise AssertionError("a question's stream ends with QueryDone")

    async def record(
        self,
        question: Question,
        collection: Collection,
        snapshot: Snapshot,
        passages: tuple[Passage, ...],
        answer: Answer,
        timings: dict[str, float],
        ranked_by: Mapping[str, str],
        degraded: tuple[str, ...],
    ) -> QueryDone:
        """Logs an answer. `ranked_by`: of its models, what reordered the passages (`RERANKER_KEYS`). `degraded`: what the search had to do without. Raises `Gone` when one of its documents was purged or kept from the principal meanwhile, and what the log raises."""
        release = self._release(collection, snapshot, question)
        interaction = self._interaction(question, collection, snapshot, release, passages, answer, timings, ranked_by, degraded)
        paths = {passage.chunk.path for passage in passages}
        self._snapshots.ensure_not_purged(snapshot, paths)
        await self._visibility.ensure_shown(collection, question.principal, paths)
        logged = await self._log.append(interaction)
        if self._shared and (purged := await self._snapshots.purged_meanwhile(snapshot, paths)):
            for path in purged:
                await self._log.erase(collection.name, path)
            raise Gone(f"{purged[0]} was purged while it was read; ask again.")
        return QueryDone(interaction, answer, passages, snapshot, release, logged)

    async def _standalone(self, question: Question) -> Question:
        """With what became of it, where something was said before it."""
        if not question.history or question.rewriting is not None:
            return question
        characters = self._limits.question_characters
        return replace(question, rewriting=await self._answering.rewriter.rewrite(question.text, question.history, characters=characters))

    def _check(self, question: Question) -> None:
        if not question.text.strip():
            raise InvalidInput("question: it is empty; ask something.", field="question")
        if len(question.text) > self._limits.question_characters:
            raise TooLarge(f"question: at most {self._limits.question_characters:,} characters; shorten it.", field="question")
        if not 1 <= question.retrieval.top_k <= self._limits.top_k:
            raise InvalidInput(f"top_k: it must be from 1 to {self._limits.top_k}.", field="top_k")
        if not 0 <= question.retrieval.rerank <= self._limits.rerank:
            raise InvalidInput(f"rerank: it must be from 0 to {self._limits.rerank}.", field="rerank")

    async def _read(self, question: Question) -> tuple[Collection, Snapshot, Hits]:
        """One snapshot and what it holds for the question. A head that was pruned while it was read gives way to the next one."""
        for last in (False, False, True):
            collection, snapshot = await self._snapshots.resolve(question.collection, question.as_of, question.min_commit)
            self._spaces.embedder(collection.space(snapshot.space_id))  # vectors of two spaces are never compared
            view = await self._visibility.view(collection, question.principal)
            wanted = SearchQuery(question.asked, question.filter, question.retrieval)
            try:
                async with self._snapshots.reading(collection, snapshot):
                    hits = await self._search.find(collection, snapshot, wanted, view=view)
            except Gone:
                if last or not snapshot.was_head:
                    raise
            else:
                return collection, snapshot, hits
        raise AssertionError("the last turn returns or raises")

    def _release(self, collection: Collection, snapshot: Snapshot, question: Question) -> Release:
        return Release(
            collection.name,
            None if snapshot.was_head else snapshot.commit_id,
            snapshot.space_id,
            question.retrieval,
            question.answer.prompt,
            self._answering.generator,
            self._answering.threshold(collection, snapshot),
            self._search.reranker if question.retrieval.rerank > 0 else None,
        )

    def _interaction(
        self,
        question: Question,
        collection: Collection,
        snapshot: Snapshot,
        release: Release,
        passages: tuple[Passage, ...],
        answer: Answer,
        timings: dict[str, float],
        ranked_by: Mapping[str, str],
        degraded: tuple[str, ...],
    ) -> Interaction:
        model = collection.space(snapshot.space_id).model
        generator = self._answering.writer(answer)  # the release names the one that it is set to
        return Interaction(
            id=new_id(),
            collection=collection.name,
            question=question.text,
            release_id=release.id,
            commit_id=snapshot.commit_id,
            seq=snapshot.seq,
            position=snapshot.position,
            space_id=snapshot.space_id,
            principal=question.principal.name,
            created_at=time.time(),
            request={
                "as_of": question.as_of,
                "min_commit": question.min_commit,
                "filter": asdict(question.filter) if question.filter.conditions else {"conditions": ()},
                "retrieval": _plain(question.retrieval),
                "answer": _plain(question.answer),
                **({"replay_of": question.replay_of} if question.replay_of else {}),
                **({"rewriting": asdict(question.rewriting)} if question.rewriting is not None else {}),
            },
            answer=answer_json(answer),
            passages=tuple(passage_json(passage, explain=True) for passage in passages),
            models={
                "embedding": model.name,
                "embedding_digest": model.digest,
                "generator": f"{generator.kind}:{generator.name}",
                "generator_revision": generator.revision,
                **ranked_by,
            },
            timings=timings,
            degraded=(*degraded, *answer.degraded),
        )


def _reranker_names(reranker: RerankerIdentity | None) -> dict[str, str]:
    """A reranker in an interaction's models."""
    if reranker is None:
        return {}
    told = (f"{reranker.kind}:{reranker.name}", reranker.revision, reranker.digest)
    return dict(zip(RERANKER_KEYS, told, strict=True))


def _rerank_time(hits: Hits) -> dict[str, float]:
    return {} if hits.rerank_ms is None else {"rerank": hits.rerank_ms}


@lru_cache(maxsize=256)  # most questions come with the same few settings
def _plain(settings: RetrievalSettings | AnswerSettings) -> dict[str, Any]:
    """As a dict, which is only read."""
    return asdict(settings)


def _milliseconds(since: float) -> float:
    return (time.perf_counter() - since) * 1e3
