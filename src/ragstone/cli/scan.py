"""Finds the documents in files and directories, in a fixed order, and says what it leaves out and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ragstone.cli.local import LocalDocument, Skipped, file_checksum
from ragstone.domain.documents import checksum
from ragstone.domain.errors import InvalidInput, RagstoneError, TooLarge
from ragstone.domain.jsonl import expand_json_lines
from ragstone.domain.names import check_document_path

_VCS = frozenset({".git", ".hg", ".svn", "CVS", "_darcs"})
_JSON_LINES = (".jsonl", ".ndjson")
_SNIFFED = 8192  # bytes looked at to tell text from binary
_BINARY_KINDS = (b"%PDF-",)  # binary, and yet parsed


class _Binary(InvalidInput):
    code = "binary"


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """`include` and `exclude` are globs on the path below the directory given, or on the name alone. `prefix` stands before every document path."""

    prefix: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Scan:
    """`documents` in order of path. `present`: paths of everything found, sent or not, so that a mirror deletes none of them."""

    documents: list[LocalDocument] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    present: set[str] = field(default_factory=set)
    folders: list[str] = field(
        default_factory=list
    )  # of records and directories that could not be read whole: nothing below them is deleted

    def leave_out_larger(self, limit: int) -> None:
        """Documents of more than `limit` bytes become skipped."""
        for document in self.documents:
            if document.size > limit:
                reason = f"it has {document.size:,} bytes, at most {limit:,} are taken; split it"
                self.skipped.append(Skipped(document.path, TooLarge.code, reason))
        self.documents = [document for document in self.documents if document.size <= limit]


def scan(paths: Sequence[Path], options: ScanOptions) -> Scan:
    """Reads `paths` once. Hidden files and version control directories are left out, symlinks are reported and never followed.

    Raises `InvalidInput` for a path that is not there, or when two files would be the same document.
    """
    found = Scan()
    for root in paths:
        for source, relative in _files(root, options, found):
            _add(source, options.prefix + relative, options, found)
    found.documents.sort(key=lambda document: document.path)
    for first, second in zip(found.documents, found.documents[1:], strict=False):
        if first.path == second.path:
            raise InvalidInput(
                f"{first.source} and {second.source} would both be the document {first.path!r}; ingest them apart, with --prefix.",
                field=first.path,
            )
    return found


def _files(root: Path, options: ScanOptions, found: Scan) -> Iterator[tuple[Path, str]]:
    try:
        mode = root.lstat().st_mode
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{root}: {_reason(error)}; check the path.", field="paths") from None
    if stat.S_ISLNK(mode):
        found.skipped.append(_symlink(options.prefix + root.name))
    elif stat.S_ISDIR(mode):
        yield from _walk(root, "", options, found)
    else:
        yield root, root.name


def _walk(directory: Path, below: str, options: ScanOptions, found: Scan) -> Iterator[tuple[Path, str]]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        path = options.prefix + below.rstrip("/")
        found.skipped.append(Skipped(path or str(directory), "unreadable", f"the directory can't be read ({_reason(error)})"))
        found.folders.append(options.prefix + below)
        return
    for entry in entries:
        relative = below + entry.name
        if entry.name.startswith(".") or entry.name in _VCS or not _wanted(relative, entry.is_dir(follow_symlinks=False), options):
            continue
        if entry.is_symlink():
            found.skipped.append(_symlink(options.prefix + relative))
            found.present.add(options.prefix + relative)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), relative + "/", options, found)
        else:
            yield Path(entry.path), relative


def _wanted(relative: str, is_directory: bool, options: ScanOptions) -> bool:
    name = relative.rsplit("/", 1)[-1]
    if any(fnmatchcase(candidate, glob.rstrip("/")) for glob in options.exclude for candidate in (relative, name)):
        return False
    if is_directory or not options.include:
        return True
    return any(fnmatchcase(candidate, glob) for glob in options.include for candidate in (relative, name))


def _add(source: Path, path: str, options: ScanOptions, found: Scan) -> None:
    found.present.add(path)
    try:
        path = check_document_path(path)
        found.present.add(path)  # as normalised
        size = _checked_size(source, path)
        if path.lower().endswith(_JSON_LINES):
            _add_records(source, path, options, found)
        else:
            found.documents.append(LocalDocument(path, source, file_checksum(source), size, metadata=dict(options.metadata)))
    except RagstoneError as error:
        found.skipped.append(Skipped(path, error.code, error.message.removeprefix(f"{path}: ")))
    except OSError as error:
        found.skipped.append(Skipped(path, "unreadable", f"it can't be read ({_reason(error)})"))


def _checked_size(source: Path, path: str) -> int:
    status = source.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInput(f"{path}: it is no regular file; leave it out.", field=path)
    if status.st_size == 0:
        raise InvalidInput(f"{path}: the file is empty; leave it out.", field=path)
    with source.open("rb") as file:
        start = file.read(_SNIFFED)
    if b"\0" in start and not start.startswith(_BINARY_KINDS):
        raise _Binary(f"{path}: it is a binary file of no known kind", field=path)
    return status.st_size


def _add_records(source: Path, path: str, options: ScanOptions, found: Scan) -> None:
    """A JSON Lines file is one document a record; the same rules as the server's, so that records are compared one by one."""

    records, errors = expand_json_lines(path, source.read_bytes())
    found.skipped += [Skipped(f"{path}:{error.line}", "unreadable-document", f"the line {error.message}") for error in errors]
    if errors:
        found.folders.append(path.rsplit(".", 1)[0] + "/")
    for record in records:
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in record.metadata.items()}
        document = LocalDocument(record.path, source, checksum(record.content), len(record.content), record.content, record.media_type)
        found.documents.append(replace(document, metadata=plain | options.metadata))
        found.present.add(record.path)


def _symlink(path: str) -> Skipped:
    return Skipped(path, "symlink", "it is a symbolic link, which is not followed; ingest what it points to")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "not a usable path"
