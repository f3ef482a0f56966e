"""What of an interaction is stored when fields of it are redacted."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict
from typing import get_args

import pytest

from ragstone.domain.errors import InvalidInput
from ragstone.domain.interactions import Feedback, Treatment
from ragstone.domain.redaction import FIELDS, Redaction
from tests.support.interactions import interaction

KEY = b"0123456789abcdef"


def hashed(content: str) -> str:
    return "hmac-sha256:" + hmac.new(KEY, content.encode(), hashlib.sha256).hexdigest()


def test_without_rules_nothing_changes() -> None:
    assert Redaction().interaction(interaction()) == interaction()


@pytest.mark.parametrize("treatment", get_args(Treatment))
def test_with_every_rule_no_personal_word_is_left(treatment: Treatment) -> None:
    every = {**dict.fromkeys(FIELDS, treatment), "metadata.owner": treatment, "metadata.tags": treatment}
    condition = {"conditions": ({"condition": {"key": "owner", "value": "Ada"}}, {"key": "owner", "values": ("Ada", "Eve")})}
    redacted = Redaction(every, KEY).interaction(interaction(request={"filter": condition, "retrieval": {}}))
    stored = json.dumps(asdict(redacted))
    for word in ("Ada", "Eve", "harbour", "bob", "People"):
        assert word not in stored, word
    assert redacted.redacted == {name: treatment for name in every if name != "feedback.comment"}
    [passage] = redacted.passages
    assert (passage["path"], passage["chunk_id"], passage["score"], passage["metadata"]["year"]) == ("people.md", "c1", 0.5, 2026)
    assert redacted.answer["citations"][0]["chunk_id"] == "c1"
    assert "retrieval" in redacted.request


def test_a_hash_depends_on_the_value_and_on_the_key_alone() -> None:
    rules = {"question": "hash", "metadata.tags": "hash", "metadata.year": "hash"}
    redacted = Redaction(rules, KEY).interaction(interaction())  # type: ignore[arg-type]  # mypy widens the values
    assert redacted.question == hashed("Who is Ada?")
    assert redacted.passages[0]["metadata"] == {"owner": "Ada", "tags": [hashed("a"), hashed("b")], "year": hashed("2026")}
    other = Redaction({"question": "hash"}, b"another key of 16").interaction(interaction())
    assert other.question != redacted.question


def test_an_answer_goes_with_its_quotes_and_a_quote_with_its_passage() -> None:
    of_answer = Redaction({"answer": "drop"}).interaction(interaction())
    assert (of_answer.answer["text"], of_answer.answer["sentences"][0]["text"], of_answer.answer["citations"][0]["quote"]) == ("", "", "")
    assert of_answer.passages == interaction().passages
    of_passages = Redaction({"passages": "drop"}).interaction(interaction())
    assert (of_passages.answer["citations"][0]["quote"], of_passages.answer["citations"][0]["heading_path"]) == ("", [])
    assert of_passages.answer["text"] == "Ada is the harbour master [1]."


def test_comments_are_redacted_only_where_there_are_some() -> None:
    rules = Redaction({"feedback.comment": "hash"}, KEY)
    assert rules.feedback(Feedback(thumb=1, comment="Ada!")) == Feedback(thumb=1, comment=hashed("Ada!"))
    assert rules.feedback(Feedback(thumb=1)) == Feedback(thumb=1)
    assert rules.interaction(interaction()).redacted == {}


@pytest.mark.parametrize(
    ("fields", "key"),
    [({"question": "hash"}, b""), ({"question": "hash"}, b"short"), ({"metadata.": "drop"}, KEY), ({"path": "drop"}, KEY)],
)
def test_bad_rules_are_refused(fields: dict[str, Treatment], key: bytes) -> None:
    with pytest.raises(InvalidInput):
        Redaction(fields, key)
