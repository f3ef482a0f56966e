"""The one JSON form of answers and passages, for responses and for the interaction log alike."""

from __future__ import annotations

from typing import Any

from ragstone.domain.answers import Answer, Citation
from ragstone.domain.retrieval import Passage


def passage_json(passage: Passage, *, explain: bool) -> dict[str, Any]:
    """`commit_id` and `checksum` are those of the commit that introduced the chunk. `explain` adds each list's score and rank, and the reranker's score."""
    chunk = passage.chunk
    form: dict[str, Any] = {
        "rank": passage.rank,
        "score": passage.score,
        "chunk_id": chunk.id,
        "path": chunk.path,
        "title": chunk.title,
        "heading_path": list(chunk.heading_path),
        "text": chunk.text,
        "start": chunk.start,
        "end": chunk.end,
        "page": chunk.page,
        "media_type": chunk.media_type,
        "metadata": {key: list(value) if isinstance(value, tuple) else value for key, value in chunk.metadata.items()},
        "commit_id": chunk.commit_id,
        "checksum": chunk.checksum,
        "neighbour_of": passage.neighbour_of,
    }
    if explain:
        form["explain"] = {
            "dense": passage.dense,
            "bm25": passage.bm25,
            "fused": passage.score,
            "dense_rank": passage.dense_rank,
            "bm25_rank": passage.bm25_rank,
            "rerank": passage.rerank,
        }
    return form


def answer_json(answer: Answer) -> dict[str, Any]:
    """Every field of the answer."""
    return {
        "text": answer.text,
        "abstained": answer.abstained,
        "grounded": answer.grounded,
        "answerability": answer.answerability,
        "sentences": [
            {"text": sentence.text, "markers": list(sentence.markers), "supported": sentence.supported, "support": sentence.support}
            for sentence in answer.sentences
        ],
        "citations": [_citation_json(citation) for citation in answer.citations],
        "usage": {"prompt_tokens": answer.usage.prompt_tokens, "completion_tokens": answer.usage.completion_tokens},
    }


def _citation_json(citation: Citation) -> dict[str, Any]:
    return {
        "marker": citation.marker,
        "chunk_id": citation.chunk_id,
        "path": citation.path,
        "heading_path": list(citation.heading_path),
        "start": citation.start,
        "end": citation.end,
        "page": citation.page,
        "commit_id": citation.commit_id,
        "quote": citation.quote,
        "score": citation.score,
    }
