"""Values read back from the JSON form in which an interaction was logged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ragstone.domain.conversations import Rewriting
from ragstone.domain.documents import content_hash
from ragstone.domain.filters import Condition, Equals, Exists, Filter, Not, OneOf, PathPrefix, Range
from ragstone.domain.interactions import Interaction
from ragstone.domain.retrieval import IndexedChunk, Passage

T = TypeVar("T")


def settings(kind: type[T], form: Mapping[str, Any] | None) -> T:
    """Settings of a dataclass; what was not known when they were logged gets its default, what is not known any more is left out."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    return kind(**{name: value for name, value in (form or {}).items() if name in known})


def rewriting_of(form: Mapping[str, Any] | None) -> Rewriting | None:
    """What became of a question with something before it; None where nothing was."""
    return None if form is None else Rewriting(**{each.name: form[each.name] for each in fields(Rewriting)})


def filter_of(form: Mapping[str, Any] | None) -> Filter:
    """A filter from `asdict` of it."""
    return Filter(tuple(_condition(condition) for condition in (form or {}).get("conditions", ())))


def filter_keys(form: Mapping[str, Any] | None) -> frozenset[str]:
    """Metadata keys that a filter names."""
    return frozenset(_keys((form or {}).get("conditions", ())))


def passage_of(form: Mapping[str, Any], chunk: IndexedChunk) -> Passage:
    """The passage with its scores of then, over the chunk as it is indexed."""
    why = form["explain"]
    return Passage(
        chunk=chunk,
        score=form["score"],
        rank=form["rank"],
        dense=why["dense"],
        bm25=why["bm25"],
        dense_rank=why["dense_rank"],
        bm25_rank=why["bm25_rank"],
        neighbour_of=form["neighbour_of"],
        rerank=why.get("rerank"),  # none was logged before there were rerankers
    )


def passage_hash(interaction: Interaction, chunk_id: str) -> str | None:
    """Content hash of a logged passage; None where its text was not kept."""
    if interaction.purged or "passages" in interaction.redacted:
        return None
    for passage in interaction.passages:
        if passage["chunk_id"] == chunk_id:
            return content_hash(tuple(passage["heading_path"]), passage["text"])
    return None


def _condition(form: Mapping[str, Any]) -> Condition:
    match form:
        case {"condition": inner}:
            return Not(_condition(inner))
        case {"prefix": prefix}:
            return PathPrefix(prefix)
        case {"key": key, "present": present}:
            return Exists(key, present)
        case {"key": key, "values": values}:
            return OneOf(key, tuple(values))
        case {"key": key, "value": value}:
            return Equals(key, value)
        case _:
            return Range(**form)


def _keys(conditions: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for condition in conditions:
        if "condition" in condition:
            yield from _keys([condition["condition"]])
        elif "key" in condition:
            yield condition["key"]
