"""Hybrid search in one shard: two lists, deterministic to the last digit, and the exact cosine of every candidate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from qdrant_edge import (
    Filter,
    HasIdCondition,
    IdfParams,
    Query,
    QueryBatchRequest,
    QueryRequest,
    ScoredPoint,
    SearchParams,
    SparseVector,
)

from ragstone.adapters.qdrant_edge_bm25 import KnownFrequencies, frequency_from_idf
from ragstone.adapters.qdrant_edge_errors import translated
from ragstone.adapters.qdrant_edge_filters import conditions, in_snapshot
from ragstone.adapters.qdrant_edge_shard import BM25, DENSE, TERMS, Shard
from ragstone.domain.filters import Filter as NeutralFilter
from ragstone.domain.retrieval import Candidate, Vector

_SPARE = 8  # results asked for beyond the limit, to see whether equal scores straddle it
_EXACT = SearchParams(exact=True)
_DEFAULT = SearchParams()

Scored = list[tuple[str, float]]  # id and score, best first, equal scores by id


@dataclass(frozen=True, slots=True)
class Search:
    """One search: the snapshot, the filter, the question, and how long each list may be."""

    seq: int
    gaps: Collection[int]
    filter: NeutralFilter
    vector: Vector
    text: str
    limit: int
    exact: bool
    groups: frozenset[str] | None


def search(shard: Shard, wanted: Search) -> list[Candidate]:
    """Candidates in order of id. Runs under the shard's lock, so that all of it sees one state."""
    shard.check_vector(wanted.vector, "the question")
    with shard.lock, translated("searching"):
        snapshot = in_snapshot(wanted.seq, wanted.gaps, wanted.groups)
        passing = Filter(must=[*snapshot, *conditions(wanted.filter)])
        queries = [QuerySpec(wanted.vector.tolist(), DENSE, _EXACT if wanted.exact else _DEFAULT)]
        question = shard.encoder.question(wanted.text, lambda terms: _frequencies(shard, wanted, Filter(must=[*snapshot]), terms))
        if question is not None:
            queries.append(QuerySpec(question, BM25, _DEFAULT))
        dense, *sparse = _lists(shard, queries, passing, wanted.limit)
        bm25 = sparse[0] if sparse else []
        cosines = dict(dense)
        cosines |= _cosines(shard, wanted.vector, [id_ for id_, _ in bm25 if id_ not in cosines])
    scores = dict(bm25)
    dense_ranks = {id_: rank for rank, (id_, _) in enumerate(dense, 1)}
    bm25_ranks = {id_: rank for rank, (id_, _) in enumerate(bm25, 1)}
    return [
        Candidate(id_, cosine, scores.get(id_, 0.0), dense_ranks.get(id_), bm25_ranks.get(id_)) for id_, cosine in sorted(cosines.items())
    ]


@dataclass(frozen=True, slots=True)
class QuerySpec:
    """One of the lists: what is near `query` among the vectors named `using`."""

    query: list[float] | SparseVector
    using: str
    params: SearchParams

    def request(self, passing: Filter, limit: int) -> QueryRequest:
        """In the engine's terms."""
        return QueryRequest(limit=limit, query=Query.Nearest(self.query, using=self.using), filter=passing, params=self.params)


def _lists(shard: Shard, queries: Sequence[QuerySpec], passing: Filter, limit: int) -> list[Scored]:
    asked = limit + _SPARE
    answers = shard.engine.query_batch(QueryBatchRequest([query.request(passing, asked) for query in queries]))
    return [_cut(shard, query, passing, limit, asked, found) for query, found in zip(queries, answers, strict=True)]


def _cut(shard: Shard, query: QuerySpec, passing: Filter, limit: int, asked: int, found: list[ScoredPoint]) -> Scored:
    """The best `limit`. While equal scores reach to the end of what was found, more is asked for: the ids decide, and all must be known."""
    while len(found) == asked and found[-1].score == found[limit - 1].score:
        asked *= 4
        found = shard.engine.query(query.request(passing, asked))
    ordered = sorted((-point.score, str(point.id)) for point in found)
    return [(id_, -negative) for negative, id_ in ordered[:limit]]


def _cosines(shard: Shard, vector: Vector, ids: Sequence[str]) -> Scored:
    """The exact cosine of candidates that only the BM25 list found."""
    if not ids:
        return []
    query = QuerySpec(vector.tolist(), DENSE, _EXACT)
    found = shard.engine.query(query.request(Filter(must=[HasIdCondition(set(ids))]), len(ids)))
    return [(str(point.id), point.score) for point in found]


def _frequencies(shard: Shard, wanted: Search, snapshot: Filter, terms: Sequence[int]) -> tuple[int, list[int]]:
    """Document frequencies in the snapshot. The vectors named `terms` weigh 1 and carry the IDF modifier: a one-term query's score is the IDF."""
    known = shard.statistics.get(wanted.seq, wanted.gaps, wanted.groups)
    if known is None:
        total = shard.count_visible(wanted.seq, wanted.gaps, wanted.groups)
        known = shard.statistics.start(wanted.seq, wanted.gaps, wanted.groups, total)
    _learn(shard, known, snapshot, [term for term in terms if term not in known.of_term])
    return known.total, [known.of_term[term] for term in terms]


def _learn(shard: Shard, known: KnownFrequencies, snapshot: Filter, terms: Sequence[int]) -> None:
    if not terms:
        return
    corpus = SearchParams(idf=IdfParams(snapshot))
    requests = [QueryRequest(limit=1, query=Query.Nearest(SparseVector([term], [1.0]), using=TERMS), params=corpus) for term in terms]
    answers = shard.engine.query_batch(QueryBatchRequest(requests))
    for term, found in zip(terms, answers, strict=True):
        known.of_term[term] = frequency_from_idf(found[0].score, known.total) if found else 0
