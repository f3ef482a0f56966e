"""Ids of releases: derived from everything that shapes an answer, and the same as ever where nothing is reranked."""

from __future__ import annotations

import json
from dataclasses import replace

from ragstone.adapters import codecs
from ragstone.domain.generation import GeneratorIdentity
from ragstone.domain.releases import Release
from ragstone.domain.reranking import RerankerIdentity
from ragstone.domain.retrieval import RetrievalSettings

RELEASE = Release(
    "docs", "c" * 40, "space", RetrievalSettings(top_k=5), "answer/1", GeneratorIdentity("extractive", "sentences", "1"), 0.31
)
RERANKED = replace(RELEASE, retrieval=replace(RELEASE.retrieval, rerank=20), reranker=RerankerIdentity("onnx", "judge", "r", "d" * 64))


def test_the_id_without_a_reranker_is_the_one_of_before_there_were_any() -> None:
    assert RELEASE.id == "de71c8c070d521f2"


def test_what_reranks_and_how_many_are_part_of_the_id() -> None:
    others = [
        RERANKED,
        replace(RERANKED, retrieval=replace(RERANKED.retrieval, rerank=21)),
        replace(RERANKED, reranker=RerankerIdentity("onnx", "judge", "r", "e" * 64)),
        replace(RERANKED, reranker=RerankerIdentity("tei", "judge")),
    ]
    assert len({release.id for release in (RELEASE, *others)}) == 5


def test_a_release_of_before_is_read_as_one_that_reranks_nothing() -> None:
    stored = json.loads(codecs.RELEASE.dump(RELEASE))
    del stored["reranker"], stored["retrieval"]["rerank"]
    assert codecs.RELEASE.load(json.dumps(stored)) == RELEASE
    assert codecs.RELEASE.load(codecs.RELEASE.dump(RERANKED)) == RERANKED
