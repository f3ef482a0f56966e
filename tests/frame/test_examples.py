"""The demo's corpus: its questions are answered where they say, and its two versions differ as its README says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HANDBOOK = Path(__file__).parents[2] / "examples" / "handbook"
QUESTIONS: dict[str, list[Any]] = json.loads((HANDBOOK / "questions.json").read_text(encoding="utf-8"))


def documents(version: str) -> dict[str, str]:
    """Text by path."""
    root = HANDBOOK / version
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in root.rglob("*") if path.is_file()}


def test_every_answer_stands_in_the_named_document() -> None:
    for version in ("v1", "v2"):
        texts = documents(version)
        for entry in QUESTIONS["demo"] + QUESTIONS["answerable"]:
            expected = entry[version]
            if expected is None:
                assert entry["v1"] or entry["v2"]
                continue
            assert expected["contains"] in texts[expected["path"]], entry["question"]


def test_the_question_asked_as_of_the_first_commit_has_two_answers() -> None:
    assert len(QUESTIONS["demo"]) == 3
    [entry] = [entry for entry in QUESTIONS["demo"] if entry.get("as_of")]
    assert entry["v1"]["contains"] != entry["v2"]["contains"]
    assert len(QUESTIONS["unanswerable"]) == 3


def test_the_versions_differ_as_described() -> None:
    first, second = documents("v1"), documents("v2")
    moved = {new for new in set(second) - set(first) if second[new] in first.values()}
    assert len(moved) == 1
    assert len(set(second) - set(first) - moved) == 2  # new
    assert len([gone for gone in set(first) - set(second) if first[gone] not in second.values()]) == 1
    assert len([path for path in set(first) & set(second) if first[path] != second[path]]) == 9
    sections = [dict(part.split("\n", 1) for part in version["safety/emergency.md"].split("\n## ")[1:]) for version in (first, second)]
    assert [title for title in sections[0] if sections[0][title] != sections[1][title]] == ["Person overboard"]
