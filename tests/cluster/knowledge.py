"""What a collection knows, without what differs from one to the next: for comparing two that were made in different ways."""

from __future__ import annotations

from typing import Any

from tests.cluster.api import Api

QUESTIONS = ("How do I declare a dependency?", "How do I return a file?", "What is a path operation?", "How do I test an application?")


def state(api: Api, collection: str, commits: int) -> list[Any]:
    """Documents, totals and passages at each commit: what must not depend on what happened on the way."""
    return [
        (
            api.documents(collection, f"#{position}"),
            [api.passages(collection, question, f"#{position}") for question in QUESTIONS],
            api.get(f"/v1/collections/{collection}/commits/%23{position}")["commit"]["stats"]["chunks"],
        )
        for position in range(1, commits + 1)
    ]
