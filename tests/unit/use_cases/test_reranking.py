"""Reranking in a search: who is scored, in which order they come, what is kept from the reranker, and what happens without it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from ragstone.domain.access import EVERYTHING, View
from ragstone.domain.deadline import deadline
from ragstone.domain.errors import InvalidInput, Unavailable
from ragstone.domain.retrieval import IndexedChunk, Passage, Point
from ragstone.use_cases.search import Hits, Search
from tests.fakes.reranker import WordOverlapReranker
from tests.support.points import DIMENSION, point
from tests.unit.use_cases.test_search import COLLECTION, HEAD, FixedModel, RecordingIndex, asking, filled


class CountingIndex(RecordingIndex):
    """Counts reads of chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[list[str]] = []

    async def chunks(self, index: str, ids: Iterable[str]) -> dict[str, IndexedChunk]:
        self.read.append(list(ids))
        return await super().chunks(index, self.read[-1])


class TableReranker(WordOverlapReranker):
    """Scores texts by a table, 0 for those that are not in it."""

    def __init__(self, **scores: float) -> None:
        super().__init__()
        self.scores = scores

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        await super().score(question, texts)
        return [self.scores.get(text, 0.0) for text in texts]


# In the order of their fused scores: a (1.0), then basalts by falling cosine, below .5.
POINTS = [point("a.md", "quartz", (1,)), *(point(f"{name}.md", name, (1, number)) for number, name in enumerate("bcdef", start=1))]


async def searching(reranker: WordOverlapReranker | None, points: Sequence[Point] = POINTS) -> tuple[Search, CountingIndex]:
    index = CountingIndex()
    await filled(index, list(points))
    return Search(index, FixedModel(DIMENSION), reranker), index


async def find(search: Search, *, view: View = EVERYTHING, **settings: Any) -> Hits:
    return await search.find(COLLECTION, HEAD, asking(**settings), view=view)


def paths(passages: Sequence[Passage]) -> str:
    return "".join(passage.chunk.path[0] for passage in passages)


async def test_the_best_are_reordered_and_the_others_follow() -> None:
    reranker = TableReranker(quartz=-1.0, b=2.0, c=5.0, d=2.0, f=9.0)
    search, _ = await searching(reranker)
    plain = await find(search)
    assert (paths(plain.passages), plain.reranked, plain.rerank_ms, plain.degraded) == ("abcdef", False, None, ())
    assert {passage.rerank for passage in plain.passages} == {None}
    assert reranker.asked == []
    hits = await find(search, rerank=4)
    assert paths(hits.passages) == "cbdaef"  # b before d, as before: their scores are equal
    assert [passage.rank for passage in hits.passages] == [1, 2, 3, 4, 5, 6]
    assert [passage.rerank for passage in hits.passages] == [5.0, 2.0, 2.0, -1.0, None, None]
    assert (hits.reranked, hits.degraded) == (True, ())
    assert hits.rerank_ms is not None
    fused = {passage.chunk.id: passage.score for passage in plain.passages}
    assert {passage.chunk.id: passage.score for passage in hits.passages} == fused
    assert reranker.asked == [("quartz", ("quartz", "b", "c", "d"))]


async def test_what_lies_beyond_top_k_may_come_up_with_no_further_request_to_the_index() -> None:
    search, index = await searching(TableReranker(f=9.0, e=8.0))
    hits = await find(search, top_k=2, rerank=6)
    assert paths(hits.passages) == "fe"
    assert (len(index.searched), [len(ids) for ids in index.read]) == (1, [6])
    await find(search, top_k=2)
    assert [len(ids) for ids in index.read] == [6, 2]  # without it only what is told is read


async def test_more_than_the_lists_are_long_can_be_reranked() -> None:
    search, _ = await searching(TableReranker(f=9.0))
    assert paths((await find(search, top_k=1, candidates=1, rerank=6)).passages) == "f"


async def test_min_score_is_of_the_fused_score() -> None:
    reranker = TableReranker(f=9.0, c=5.0)
    search, _ = await searching(reranker)
    everything = await find(search)
    bound = everything.passages[2].score
    hits = await find(search, rerank=6, min_score=bound)
    assert paths(hits.passages) == "cab"
    assert reranker.asked[0][1] == ("quartz", "b", "c")  # nothing else is paid for


async def test_the_text_is_the_one_that_was_embedded() -> None:
    reranker = WordOverlapReranker()
    search, _ = await searching(reranker, [point("a.md", "quartz", heading_path=("Rocks", "Hard ones"))])
    (hit,) = (await find(search, rerank=3)).passages
    assert reranker.asked == [("quartz", (hit.chunk.embedded_text,))]
    assert "Hard ones" in hit.chunk.embedded_text


async def test_neighbours_stand_around_hits_in_the_new_order() -> None:
    chunks = [point("g.md", f"g{number}", (0, 1), start=100 * number) for number in range(3)]
    search, _ = await searching(TableReranker(f=9.0), [*POINTS, *chunks, point("f.md", "after", (0, 0, 1), start=100)])
    hits = await find(search, top_k=1, rerank=7, neighbours=1)
    assert [(passage.chunk.text, passage.rank, passage.rerank) for passage in hits.passages] == [("f", 1, 9.0), ("after", 1, None)]
    assert hits.reranked


async def test_texts_that_may_not_be_seen_never_reach_the_reranker() -> None:
    """Neither those that the index leaves out by their groups, nor those whose groups it does not know of yet."""
    reranker = WordOverlapReranker()
    secret, late = point("b.md", "secret"), point("c.md", "late secret")
    points = [POINTS[0], Point(secret.chunk, secret.vector, frozenset({"hr"})), late]
    search, _ = await searching(reranker, points)
    hits = await find(search, view=View(frozenset({"all"}), frozenset({"b.md", "c.md"})), rerank=10)
    assert paths(hits.passages) == "a"
    assert [passage.rank for passage in hits.passages] == [1]
    assert reranker.asked == [("quartz", ("quartz",))]


async def test_where_nothing_is_found_nothing_is_asked() -> None:
    reranker = WordOverlapReranker()
    search, _ = await searching(reranker, [])
    assert await find(search, rerank=5) == Hits(())
    assert reranker.asked == []


async def test_without_its_reranker_the_fused_order_stands_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    reranker = TableReranker(f=9.0)
    search, _ = await searching(reranker)
    plain = await find(search, top_k=3)
    reranker.error = Unavailable("no GPU.")
    for _ in range(3):
        hits = await find(search, top_k=3, rerank=6)
        assert (hits.passages, hits.degraded, hits.reranked) == (plain.passages, ("rerank",), False)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]  # once, not at every question
    assert "no GPU." in caplog.text
    reranker.error = None
    assert (await find(search, top_k=3, rerank=6)).reranked
    assert "the reranker answers again" in caplog.text


async def test_a_reranker_that_hangs_gets_half_of_the_request_s_time() -> None:
    class Hanging(WordOverlapReranker):
        async def score(self, question: str, texts: Sequence[str]) -> list[float]:
            await asyncio.Event().wait()
            return []

    search, _ = await searching(Hanging())
    with deadline(0.2):
        began = asyncio.get_running_loop().time()
        hits = await find(search, rerank=6)
        assert hits.degraded == ("rerank",)
        assert asyncio.get_running_loop().time() - began < 0.19


async def test_a_question_that_wants_a_reranker_where_there_is_none_is_refused() -> None:
    search, index = await searching(None)
    with pytest.raises(InvalidInput, match="there is no reranker here") as raised:
        await find(search, rerank=1)
    assert (raised.value.field, index.searched) == ("rerank", [])
    assert search.reranker is None
    await search.check()
