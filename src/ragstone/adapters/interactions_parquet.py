"""Interactions as Parquet, piece by piece, with typed columns. Importing it needs `ragstone[parquet]`."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from ragstone.domain.interactions import Interaction

_TIME = pa.timestamp("us", tz="UTC")
_TEXTS = pa.list_(pa.string())
_SENTENCE = pa.struct([("text", pa.string()), ("markers", pa.list_(pa.int64())), ("supported", pa.bool_()), ("support", pa.float64())])
_PLACE = [
    ("chunk_id", pa.string()),
    ("path", pa.string()),
    ("heading_path", _TEXTS),
    ("start", pa.int64()),
    ("end", pa.int64()),
    ("page", pa.int64()),
    ("score", pa.float64()),
]
_CITATION = pa.struct([("marker", pa.int64()), *_PLACE, ("quote", pa.string()), ("commit_id", pa.string())])
_PASSAGE = pa.struct(
    [
        ("rank", pa.int64()),
        *_PLACE,
        ("title", pa.string()),
        ("text", pa.string()),
        ("media_type", pa.string()),
        ("metadata", pa.string()),  # JSON: its types differ by document
        ("commit_id", pa.string()),
        ("checksum", pa.string()),
        ("neighbour_of", pa.string()),
        ("dense", pa.float64()),
        ("bm25", pa.float64()),
        ("rerank", pa.float64()),
    ]
)
_FEEDBACK = pa.struct([("thumb", pa.int64()), ("score", pa.float64()), ("comment", pa.string()), ("tags", _TEXTS), ("created_at", _TIME)])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("collection", pa.string()),
        ("question", pa.string()),
        ("created_at", _TIME),
        ("principal", pa.string()),
        ("release_id", pa.string()),
        ("commit_id", pa.string()),
        ("seq", pa.int64()),
        ("position", pa.int64()),
        ("space_id", pa.string()),
        ("answer", pa.string()),
        ("abstained", pa.bool_()),
        ("grounded", pa.float64()),
        ("answerability", pa.float64()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("sentences", pa.list_(_SENTENCE)),
        ("citations", pa.list_(_CITATION)),
        ("passages", pa.list_(_PASSAGE)),
        ("models", pa.map_(pa.string(), pa.string())),
        ("timings", pa.map_(pa.string(), pa.float64())),
        ("feedback", pa.list_(_FEEDBACK)),
        ("request", pa.string()),  # JSON: settings and filter
        ("replay_of", pa.string()),
        ("redacted", pa.map_(pa.string(), pa.string())),
        ("purged", pa.bool_()),
        ("degraded", _TEXTS),
    ]
)


class _Sink(io.RawIOBase):
    """Keeps what was written since it was asked last."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class InteractionsParquet:
    """One file. Its bytes are those of every `rows` and of `end`, in order. Blocking; each call of `rows` is held in memory and makes a row group."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(pa.PythonFile(self._sink, mode="w"), SCHEMA, compression="zstd")

    def rows(self, interactions: Sequence[Interaction]) -> bytes:
        """The next rows."""
        if interactions:
            self._writer.write_table(pa.Table.from_pylist([_row(interaction) for interaction in interactions], SCHEMA))
        return self._sink.taken()

    def end(self) -> bytes:
        """The end of the file."""
        self._writer.close()
        return self._sink.taken()


def _row(interaction: Interaction) -> dict[str, Any]:
    answer = interaction.answer
    usage = answer.get("usage", {})
    return {
        "id": interaction.id,
        "collection": interaction.collection,
        "question": interaction.question,
        "created_at": _moment(interaction.created_at),
        "principal": interaction.principal,
        "release_id": interaction.release_id,
        "commit_id": interaction.commit_id,
        "seq": interaction.seq,
        "position": interaction.position,
        "space_id": interaction.space_id,
        "answer": answer.get("text"),
        "abstained": answer.get("abstained"),
        "grounded": answer.get("grounded"),
        "answerability": answer.get("answerability"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "sentences": answer.get("sentences"),
        "citations": answer.get("citations"),
        "passages": [_passage(passage) for passage in interaction.passages],
        "models": list(interaction.models.items()),
        "timings": list(interaction.timings.items()),
        "feedback": [
            {"thumb": one.thumb, "score": one.score, "comment": one.comment, "tags": list(one.tags), "created_at": _moment(one.created_at)}
            for one in interaction.feedback
        ],
        "request": json.dumps(interaction.request),
        "replay_of": interaction.request.get("replay_of"),
        "redacted": list(interaction.redacted.items()),
        "purged": interaction.purged,
        "degraded": list(interaction.degraded),
    }


def _passage(passage: Mapping[str, Any]) -> dict[str, Any]:
    why = passage.get("explain") or {}
    return {
        **passage,
        "metadata": json.dumps(passage.get("metadata", {})),
        "dense": why.get("dense"),
        "bm25": why.get("bm25"),
        "rerank": why.get("rerank"),
    }


def _moment(seconds: float) -> int:
    """Microseconds, rounded up as the API's times are."""
    whole = math.floor(seconds)
    return whole * 10**6 + math.ceil((seconds - whole) * 1e6)
