"""What a collection knows, without what differs from one to the next: for comparing two that were made in different ways."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.api import Api

QUESTIONS = ("How do I declare a dependency?", "How do I return a file?", "What is a path operation?", "How do I test an application?")


_SAME = 1e-5  # of a score; as the contract of embedding models: the last digits of a vector follow from what is embedded beside its text


def state(api: Api, collection: str, commits: int) -> dict[str, Any]:
    """Documents, totals and passages at each commit, by a name: what must not depend on what happened on the way."""
    found: dict[str, Any] = {}
    for position in range(1, commits + 1):
        as_of = f"#{position}"
        found[f"documents at {as_of}"] = api.documents(collection, as_of)
        found |= {f"passages at {as_of}: {question}": api.passages(collection, question, as_of) for question in QUESTIONS}
        found[f"chunks at {as_of}"] = api.get(f"/v1/collections/{collection}/commits/%23{position}")["commit"]["stats"]["chunks"]
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What two states tell differently, by name; the order of passages counts, the last digits of their scores do not."""
    return {name: (one.get(name), other[name]) for name in other if one.get(name) != _nearly(other[name])}


def _nearly(value: Any) -> Any:
    match value:
        case float():
            return pytest.approx(value, abs=_SAME)
        case list() | tuple():
            return type(value)(_nearly(each) for each in value)
    return value
