"""Hybrid search on a Qdrant server: one batch of queries a question, deterministic to the last digit, and the exact cosine of every candidate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from qdrant_client import AsyncQdrantClient, grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

from ragstone.adapters.qdrant_edge_bm25 import Bm25Encoder, KnownFrequencies, frequency_from_idf
from ragstone.adapters.qdrant_server_connection import Connection
from ragstone.adapters.qdrant_server_filters import equals, every, has_id
from ragstone.adapters.qdrant_server_points import Points
from ragstone.adapters.qdrant_server_schema import BM25, DENSE, TERMS, Opened
from ragstone.domain.retrieval import Candidate, Vector

_SPARE = 8  # results asked for beyond the limit, to see whether equal scores straddle it
_KEPT = 16  # snapshots whose statistics are kept
_FRESH = 60.0  # seconds that they are kept for: another process may purge a document, which changes old snapshots
_EXACT = models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))
_APPROXIMATE = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0))
_SPARSE = models.SearchParams()

Scored = list[tuple[str, float]]  # id and score, best first
_Key = tuple[str, int, frozenset[int]]


class Statistics:
    """Document frequencies of the snapshots last asked for. A published snapshot's change only when a document of it is purged."""

    def __init__(self) -> None:
        self._known: dict[_Key, tuple[float, KnownFrequencies]] = {}

    def get(self, key: _Key) -> KnownFrequencies | None:
        """What is known of the snapshot."""
        until, known = self._known.get(key, (0.0, None))
        return known if time.monotonic() < until else None

    def start(self, key: _Key, total: int) -> KnownFrequencies:
        """Begins to keep the frequencies of a snapshot; the oldest kept makes room."""
        while len(self._known) >= _KEPT:
            del self._known[next(iter(self._known))]
        self._known.pop(key, None)
        known = KnownFrequencies(total)
        self._known[key] = (time.monotonic() + _FRESH, known)
        return known

    def forget_from(self, index: str, seq: int) -> None:
        """A write of attempt `seq` can be seen by no published snapshot, but by unpublished ones from `seq` on."""
        for key in [key for key in self._known if key[0] == index and key[1] >= seq]:
            del self._known[key]


@dataclass(frozen=True, slots=True)
class Search:
    """One search in the collection `alias`. `snapshot`: its conditions, `key`: what its statistics are kept by, None: not at all.

    `passing`: the snapshot and the metadata filter.
    """

    alias: str
    key: _Key | None
    snapshot: models.Filter
    passing: models.Filter
    vector: Vector
    text: str
    limit: int
    exact: bool


class Searcher:
    """Searches the indexes of one server."""

    def __init__(self, connection: Connection, points: Points) -> None:
        self._connection = connection
        self._points = points
        self.statistics = Statistics()

    async def search(self, opened: Opened, encoder: Bm25Encoder, wanted: Search) -> list[Candidate]:
        """Candidates in order of id."""
        dense_query = _Query(wanted.vector.tolist(), DENSE, _EXACT if wanted.exact else _APPROXIMATE)
        asked = wanted.limit + _SPARE
        requests = [dense_query.request(wanted.passing, asked)]
        question = await self._question(opened, encoder, wanted)
        if question is not None:
            requests += [question.request(wanted.passing, asked), _rescored(question, wanted, asked)]
        answers = await self._batch(wanted.alias, requests)
        dense = await self._cut(dense_query, wanted, asked, answers[0])
        bm25, cosines = [], dict(dense)
        if question is not None:
            bm25 = await self._cut(question, wanted, asked, answers[1])
            cosines |= await self._cosines(wanted, [id_ for id_, _ in bm25 if id_ not in cosines], dict(answers[2]))
        scores = dict(bm25)
        dense_ranks = {id_: rank for rank, (id_, _) in enumerate(dense, 1)}
        bm25_ranks = {id_: rank for rank, (id_, _) in enumerate(bm25, 1)}
        return [
            Candidate(id_, cosine, scores.get(id_, 0.0), dense_ranks.get(id_), bm25_ranks.get(id_))
            for id_, cosine in sorted(cosines.items())
        ]

    async def _question(self, opened: Opened, encoder: Bm25Encoder, wanted: Search) -> _Query | None:
        terms = encoder.terms(wanted.text)
        if not terms:
            return None
        known = await self._frequencies(opened, wanted, terms)
        vector = encoder.question(wanted.text, lambda terms: (known.total, [known.of_term[term] for term in terms]))
        if vector is None:
            return None
        return _Query(models.SparseVector(indices=list(vector.indices), values=list(vector.values)), BM25, _SPARSE)

    async def _frequencies(self, opened: Opened, wanted: Search, terms: Sequence[int]) -> KnownFrequencies:
        """The snapshot's total, and the frequencies of these terms at least."""
        known = self.statistics.get(wanted.key) if wanted.key else None
        if known is None:
            total, learnt = await asyncio.gather(self._points.count(wanted.alias, wanted.snapshot), self._learn(opened, wanted, terms))
            known = self.statistics.start(wanted.key, total) if wanted.key else KnownFrequencies(total)
        else:
            learnt = await self._learn(opened, wanted, [term for term in terms if term not in known.of_term])
        for term, counted in learnt.items():
            known.of_term[term] = counted if isinstance(counted, int) else frequency_from_idf(counted, known.total)
        return known

    async def _learn(self, opened: Opened, wanted: Search, terms: Sequence[int]) -> dict[int, int | float]:
        """For each term its IDF in the snapshot, or how many points hold it: 0, or counted where the collection has several shards.

        The vectors named `terms` weigh 1 and carry the IDF modifier, so the score of a question of one term is its IDF.
        """
        if not terms:
            return {}
        if opened.counts_terms:
            counts = [self._points.count(wanted.alias, every(wanted.snapshot, equals(TERMS, term))) for term in terms]
            return dict(zip(terms, await asyncio.gather(*counts), strict=True))
        corpus = models.SearchParams(idf=models.IdfCorpusParams(corpus=wanted.snapshot))
        queries = [_Query(models.SparseVector(indices=[term], values=[1.0]), TERMS, corpus) for term in terms]
        answers = await self._batch(wanted.alias, [query.request(None, 1) for query in queries])
        return {term: found[0][1] if found else 0 for term, found in zip(terms, answers, strict=True)}

    async def _cut(self, query: _Query, wanted: Search, asked: int, found: Scored) -> Scored:
        """The best `limit`. While equal scores reach to the end of what was found, more is asked for: the ids decide, and all must be known."""
        while len(found) == asked and found[-1][1] == found[wanted.limit - 1][1]:
            asked *= 4
            (found,) = await self._batch(wanted.alias, [query.request(wanted.passing, asked)])
        return _ordered(found)[: wanted.limit]

    async def _cosines(self, wanted: Search, ids: Sequence[str], known: dict[str, float]) -> Scored:
        """The exact cosines of candidates that only the BM25 list found; those not in `known` are asked for."""
        missing = [id_ for id_ in ids if id_ not in known]
        if missing:
            query = _Query(wanted.vector.tolist(), DENSE, _EXACT)
            (found,) = await self._batch(wanted.alias, [query.request(every(has_id(missing)), len(missing))])
            known |= dict(found)
        return [(id_, known[id_]) for id_ in ids if id_ in known]

    async def _batch(self, alias: str, queries: list[models.QueryRequest]) -> list[Scored]:
        """Each list as found, best first. In the protocol's own types: the client's models of some hundred points take ten milliseconds."""
        consistency = self._connection.server.consistency
        requests = [RestToGrpc.convert_query_request(query, alias) for query in queries]

        async def ask(client: AsyncQdrantClient, seconds: int) -> list[Scored]:
            batch = grpc.QueryBatchPoints(
                collection_name=alias,
                query_points=requests,
                read_consistency=RestToGrpc.convert_read_consistency(consistency) if consistency else None,
                timeout=seconds,
            )
            answer = await client.grpc_points.QueryBatch(batch, timeout=seconds)
            return [[(point.id.uuid or str(point.id.num), point.score) for point in found.result] for found in answer.result]

        return await self._connection.call(ask)


@dataclass(frozen=True, slots=True)
class _Query:
    """One of the lists: what is near `query` among the vectors named `using`."""

    query: list[float] | models.SparseVector
    using: str
    params: models.SearchParams = field(default_factory=models.SearchParams)

    def request(self, passing: models.Filter | None, limit: int) -> models.QueryRequest:
        """In the server's terms."""
        return models.QueryRequest(
            query=models.NearestQuery(nearest=self.query),
            using=self.using,
            filter=passing,
            params=self.params,
            limit=limit,
            with_payload=False,
            with_vector=False,
        )


def _rescored(question: _Query, wanted: Search, asked: int) -> models.QueryRequest:
    """The BM25 list with cosines for scores, in the same batch."""
    listed = models.Prefetch(
        query=models.NearestQuery(nearest=question.query), using=BM25, filter=wanted.passing, params=question.params, limit=asked
    )
    return models.QueryRequest(
        prefetch=[listed],
        query=models.NearestQuery(nearest=wanted.vector.tolist()),
        using=DENSE,
        params=_EXACT,
        limit=asked,
        with_payload=False,
        with_vector=False,
    )


def _ordered(found: Scored) -> Scored:
    ordered = sorted((-score, id_) for id_, score in found)
    return [(id_, -negative) for negative, id_ in ordered]
