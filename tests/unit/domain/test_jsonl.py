"""JSON Lines become one document a record."""

from __future__ import annotations

import json

import pytest

from ragstone.domain import jsonl
from ragstone.domain.errors import TooLarge
from ragstone.domain.jsonl import RecordDocument, expand_json_lines
from ragstone.domain.names import check_document_path


def lines(*records: object) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


def test_each_record_is_a_document_below_the_file() -> None:
    content = lines({"_id": "4983", "title": "T", "text": "One."}, {"_id": 7, "text": "Two."})
    documents, errors = expand_json_lines("data/corpus.jsonl", content)
    assert errors == []
    assert [document.path for document in documents] == ["data/corpus/4983", "data/corpus/7"]
    assert [document.media_type for document in documents] == ["application/json"] * 2
    assert documents[0].content == content.splitlines()[0]


def test_other_fields_become_metadata() -> None:
    record = {"_id": "1", "text": "x", "title": "t", "year": 2020, "score": 0.5, "open": True, "tags": ["a", "b"], "url": "u"}
    [document], _ = expand_json_lines("c.jsonl", lines(record | {"nested": {"a": 1}, "none": None, "mixed": [1, "a"], "huge": 10**30}))
    assert document.metadata == {"year": 2020, "score": 0.5, "open": True, "tags": ("a", "b"), "url": "u", "huge": str(10**30)}


def test_metadata_holds_neither_nan_nor_lone_surrogates() -> None:
    [document], _ = expand_json_lines("c.jsonl", b'{"_id": "1", "text": "x", "a": NaN, "b": "\\ud800", "c": ["\\udfff"]}')
    assert document.metadata == {"b": "?", "c": ("?",)}


@pytest.mark.parametrize(
    ("identifier", "part"),
    [
        ("plain-1.2_x", "plain-1.2_x"),
        ("with blank", "with blank"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("50%", "50%25"),
        ("a\\b", "a%5Cb"),
        ("line\nbreak", "line%0Abreak"),
        ("\ud800", "%ED%A0%80"),
        ("käse", "käse"),
    ],
)
def test_identifiers_are_encoded_where_a_path_could_not_hold_them(identifier: str, part: str) -> None:
    [document], errors = expand_json_lines("c.jsonl", lines({"_id": identifier, "text": "x"}))
    assert errors == []
    assert document.path == f"c/{part}"
    assert check_document_path(document.path) == document.path


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{broken", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"text": "x"}', "no _id"),
        (b'{"_id": "", "text": "x"}', "no _id"),
        (b'{"_id": true, "text": "x"}', "no _id"),
        (b'{"_id": "2"}', "no text"),
        (b'{"_id": "2", "text": 5}', "no text"),
        (b'{"_id": "2", "text": "x", "title": 5}', "title"),
        (b'{"_id": "2", "text": "caf\xe9"}', "UTF-8"),
        (b'{"_id": "1", "text": "again"}', "same _id as line 1"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"_id": "' + b"x" * 2000 + b'", "text": "x"}', "1024 bytes"),
    ],
)
def test_a_bad_line_is_reported_and_the_others_are_kept(line: bytes, complaint: str) -> None:
    content = lines({"_id": "1", "text": "x"}) + b"\n\n" + line + b"\r\n" + lines({"_id": "3", "text": "z"})
    documents, errors = expand_json_lines("c.jsonl", content)
    assert [document.path for document in documents] == ["c/1", "c/3"]
    assert [error.line for error in errors] == [3]
    assert errors[0].message.startswith("c.jsonl, line 3: ")
    assert complaint in errors[0].message


def test_limits_on_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 40)
    documents, errors = expand_json_lines("c.jsonl", lines({"_id": "1", "text": "x"}, {"_id": "2", "text": "x" * 40}))
    assert [document.path for document in documents] == ["c/1"]
    assert "longer than 40 bytes" in errors[0].message
    monkeypatch.setattr(jsonl, "MAX_RECORDS", 2)
    with pytest.raises(TooLarge) as caught:
        expand_json_lines("c.jsonl", b"\n" * 3)
    assert caught.value.field == "c.jsonl"


def test_byte_order_mark_and_the_other_suffix() -> None:
    documents, errors = expand_json_lines("C.NDJSON", b'\xef\xbb\xbf{"_id": "1", "text": "x"}')
    assert errors == []
    assert documents == [RecordDocument("C/1", b'{"_id": "1", "text": "x"}', {})]
    assert expand_json_lines("noname", lines({"_id": "1", "text": "x"}))[0][0].path == "noname/1"
