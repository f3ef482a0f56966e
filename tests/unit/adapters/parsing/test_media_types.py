"""Which parser takes what."""

from __future__ import annotations

import pytest

from ragstone.adapters.parsing import worker
from ragstone.adapters.parsing.media_types import PARSERS, guess_media_type, parser_for, versions
from ragstone.domain.errors import InvalidInput


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("a/b.md", "text/markdown"),
        ("A.MARKDOWN", "text/markdown"),
        ("a.rst", "text/x-rst"),
        ("a.htm", "text/html"),
        ("a.pdf", "application/pdf"),
        ("a.json", "application/json"),
        ("a.jsonl", "application/jsonl"),
        ("a.py", "text/x-python"),
        ("a.tsx", "text/x-typescript"),
        ("a.yml", "text/x-yaml"),
        ("pyproject.toml", "text/x-toml"),
        ("setup.cfg", "text/x-ini"),
        ("a.cpp", "text/x-c++"),
        ("Makefile", "text/x-makefile"),
        ("docker/Dockerfile", "text/x-dockerfile"),
        ("README", "text/plain"),
        ("LICENSE", "text/plain"),
        (".gitignore", "text/plain"),
        ("notes.unheardof", "text/plain"),
        ("a.tar.txt", "text/plain"),
    ],
)
def test_types_by_suffix_and_name(path: str, media_type: str) -> None:
    assert guess_media_type(path, b"some text") == media_type
    if media_type != "application/jsonl":
        assert parser_for(path, media_type)


def test_types_by_the_first_bytes() -> None:
    assert guess_media_type("paper", b"%PDF-1.7\n\x00\x01") == "application/pdf"
    assert guess_media_type("index", b"\n<!DOCTYPE html>\n<p>x") == guess_media_type("page.asp", b"<html><p>x") == "text/html"
    assert guess_media_type("notes.x", "é".encode() * 5000) == "text/plain"
    for path, content in (("a.bin", b"a\x00b"), ("program", b"\x7fELF\x00"), ("a.png", b"\x89PNG\r\n"), ("a.py", b"\x00")):
        with pytest.raises(InvalidInput) as caught:
            guess_media_type(path, content)
        assert caught.value.field == path


def test_parameters_and_case_of_media_types() -> None:
    assert parser_for("a", "Text/Markdown; charset=utf-8") == "markdown"
    assert parser_for("a", "text/x-whatever") == "code"


def test_every_parser_has_a_version_and_an_entry_point() -> None:
    names = {version.partition("/")[0] for version in versions()}
    assert names == set(worker._ENTRY_POINTS) == {*PARSERS.values(), "code"}
    assert any(version.startswith("html/") and "+lxml-" in version for version in versions())
