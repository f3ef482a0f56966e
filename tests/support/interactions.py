"""Interactions for tests of the log and of what stands before it."""

from __future__ import annotations

from typing import Any

from ragstone.domain.interactions import Interaction


def interaction(id_: str = "i1", **fields: Any) -> Interaction:
    """One question, answered from one passage of `people.md` that it cites."""
    values: dict[str, Any] = {
        "collection": "docs",
        "question": "Who is Ada?",
        "release_id": "r",
        "commit_id": "0" * 40,
        "seq": 3,
        "position": 2,
        "space_id": "s",
        "principal": "bob",
        "created_at": 1000.25,
        "request": {"filter": {"conditions": []}},
        "answer": {
            "text": "Ada is the harbour master [1].",
            "abstained": False,
            "sentences": [{"text": "Ada is the harbour master [1].", "markers": [1]}],
            "citations": [
                {"marker": 1, "chunk_id": "c1", "path": "people.md", "quote": "Ada is the harbour master.", "heading_path": ["Ada"]}
            ],
        },
        "passages": (
            {
                "chunk_id": "c1",
                "path": "people.md",
                "title": "People",
                "heading_path": ["Ada"],
                "text": "Ada is the harbour master.",
                "metadata": {"owner": "Ada", "tags": ["a", "b"], "year": 2026},
                "score": 0.5,
            },
        ),
        "models": {},
        "timings": {},
    }
    return Interaction(id=id_, **(values | fields))
