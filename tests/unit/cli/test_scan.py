"""What is found in files and directories, and what is left out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ragstone.cli.scan import Scan, ScanOptions, scan
from ragstone.domain.errors import InvalidInput

Tree = Callable[..., Path]


def paths(found: Scan) -> list[str]:
    return [document.path for document in found.documents]


def skipped(found: Scan) -> dict[str, str]:
    return {one.path: one.code for one in found.skipped}


def test_documents_are_sorted_and_named_below_the_directory(tree: Tree) -> None:
    root = tree("docs", {"z.md": "z", "a/b.md": "b", "a.md": "a", "a/a.md": "aa"})
    found = scan([root], ScanOptions(prefix="guide/"))
    assert paths(found) == ["guide/a.md", "guide/a/a.md", "guide/a/b.md", "guide/z.md"]
    assert found.documents[0].checksum == hashlib.sha256(b"a").hexdigest()
    assert found.skipped == []


def test_a_single_file_has_its_name_as_path(tree: Tree) -> None:
    root = tree("docs", {"deep/down/a.md": "a"})
    assert paths(scan([root / "deep" / "down" / "a.md"], ScanOptions())) == ["a.md"]


def test_hidden_files_and_version_control_are_left_out_silently(tree: Tree) -> None:
    found = scan([tree("docs", {".env": "secret", ".git/HEAD": "ref", "CVS/Root": "x", ".x/a.md": "x", "a.md": "a"})], ScanOptions())
    assert paths(found) == ["a.md"]
    assert found.skipped == []


def test_symlinks_are_reported_and_never_followed(tree: Tree, tmp_path: Path) -> None:
    secret = tree("secret", {"key.txt": "key"})
    root = tree("docs", {"a.md": "a"})
    (root / "link.txt").symlink_to(secret / "key.txt")
    (root / "folder").symlink_to(secret)
    (root / "loop").symlink_to(root)
    found = scan([root], ScanOptions())
    assert paths(found) == ["a.md"]
    assert skipped(found) == {"link.txt": "symlink", "folder": "symlink", "loop": "symlink"}
    assert skipped(scan([root / "link.txt"], ScanOptions())) == {"link.txt": "symlink"}


def test_bad_files_are_reported_and_do_not_stop_the_others(tree: Tree) -> None:
    root = tree(
        "docs", {"a.md": "a", "empty.md": "", "image.png": b"\x89PNG\0\0", "doc.pdf": b"%PDF-1.7\0", "b\\c.md": "x", "d\ne.md": "x"}
    )
    os.mkfifo(root / "pipe")
    found = scan([root], ScanOptions())
    assert paths(found) == ["a.md", "doc.pdf"]
    codes = skipped(found)
    assert codes == {
        "empty.md": "invalid-input",
        "image.png": "binary",
        "b\\c.md": "invalid-input",
        "d\ne.md": "invalid-input",
        "pipe": "invalid-input",
    }
    assert {"empty.md", "image.png"} <= found.present


def test_a_file_name_that_is_not_unicode_is_reported(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    (root / os.fsdecode(b"caf\xe9.md")).write_text("x")
    [one] = scan([root], ScanOptions()).skipped
    assert "not valid Unicode" in one.reason


def test_names_are_normalised(tree: Tree) -> None:
    assert paths(scan([tree("docs", {"cafe\u0301.md": "x"})], ScanOptions())) == ["caf\u00e9.md"]


def test_an_unreadable_file_is_reported(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree("docs", {"a.md": "a", "b.md": "b"})

    def refuse(path: Path) -> str:
        if path.name == "b.md":
            raise PermissionError(13, "Permission denied")
        return "0" * 64

    monkeypatch.setattr("ragstone.cli.scan.file_checksum", refuse)
    found = scan([root], ScanOptions())
    assert paths(found) == ["a.md"]
    assert skipped(found) == {"b.md": "unreadable"}


def test_a_directory_that_cannot_be_read_protects_what_is_below(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree("docs", {"a.md": "a", "sub/b.md": "b"})
    real = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = scan([root], ScanOptions())
    assert skipped(found) == {"sub": "unreadable"}
    assert found.folders == ["sub/"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ScanOptions(include=("*.md",)), ["a.md", "sub/c.md"]),
        (ScanOptions(exclude=("sub",)), ["a.md", "b.txt"]),
        (ScanOptions(exclude=("sub/",)), ["a.md", "b.txt"]),
        (ScanOptions(exclude=("*.md",)), ["b.txt"]),
        (ScanOptions(include=("sub/*",), exclude=("d*",)), ["sub/c.md"]),
    ],
)
def test_globs_match_paths_and_names(tree: Tree, options: ScanOptions, expected: list[str]) -> None:
    root = tree("docs", {"a.md": "a", "b.txt": "b", "sub/c.md": "c", "sub/d.txt": "d"})
    assert [path for path in paths(scan([root], options)) if path != "sub/d.txt" or options.include] == expected


def test_json_lines_are_documents_one_by_one(tree: Tree) -> None:
    lines = '{"_id": "1", "title": "One", "text": "first", "year": 2024}\n\nnot json\n{"_id": "2", "text": "second", "tags": ["x", "y"]}\n'
    found = scan([tree("docs", {"corpus.jsonl": lines})], ScanOptions(metadata={"team": "ops"}))
    assert paths(found) == ["corpus/1", "corpus/2"]
    first, second = found.documents
    assert first.metadata == {"year": 2024, "team": "ops"}
    assert second.metadata == {"tags": ["x", "y"], "team": "ops"}
    assert first.content is not None
    assert first.checksum == hashlib.sha256(first.content).hexdigest()
    assert skipped(found) == {"corpus.jsonl:3": "unreadable-document"}
    assert found.folders == ["corpus/"]


def test_documents_beyond_the_limit_are_left_out(tree: Tree) -> None:
    found = scan([tree("docs", {"a.md": "a" * 11, "b.md": "b" * 10})], ScanOptions())
    found.leave_out_larger(10)
    assert paths(found) == ["b.md"]
    assert skipped(found) == {"a.md": "too-large"}


def test_two_files_for_one_document_are_refused(tree: Tree) -> None:
    one, two = tree("one", {"a.md": "1"}), tree("two", {"a.md": "2"})
    with pytest.raises(InvalidInput, match="would both be the document"):
        scan([one, two], ScanOptions())


@pytest.mark.parametrize("name", ["missing", "nul\0byte", "x" * 5000])
def test_a_path_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput) as error:
        scan([tmp_path / name], ScanOptions())
    assert error.value.field == "paths"
