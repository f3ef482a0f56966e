"""Changes of a file of keys from the command line: whole or not at all, comments kept."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ragstone.adapters.durable_files import sync_directory
from ragstone.adapters.key_file import KeyLine, new_key, parse_line, read_text
from ragstone.domain.access import scopes_text
from ragstone.domain.errors import InvalidInput, NotFound


def add_key(path: Path, line: KeyLine) -> None:
    """Adds a key; makes the file (for its owner's eyes) if there is none."""
    before = read_text(path) if path.exists() else ""
    _write(path, before + ("" if not before or before.endswith("\n") else "\n") + line.text() + "\n")


def rotate_key(path: Path, name: str, old_until: float, until: float | None) -> tuple[str, KeyLine]:
    """A new key with the rights of the newest one of that name; those of before go on to count until `old_until` at most."""
    found: list[KeyLine] = []

    def ends(line: KeyLine) -> KeyLine:
        found.append(line)
        return replace(line, until=old_until if line.until is None else min(line.until, old_until))

    text = _edited(path, name, ends)
    last = found[-1].principal
    key, line = new_key(name, scopes_text(last), last.groups, until)
    _write(path, text + line.text() + "\n")
    return key, line


def revoke_keys(path: Path, name: str) -> int:
    """Takes every key of that name out of the file; returns how many. Raises `InvalidInput` for the last ones: no server starts without a key."""
    gone: list[KeyLine] = []

    def drop(line: KeyLine) -> None:
        gone.append(line)

    text = _edited(path, name, drop)
    if not any(line.strip() and not line.strip().startswith("#") for line in text.splitlines()):
        raise InvalidInput("name: no other key is in the file, and no server takes an empty one; make another key first.", field="name")
    _write(path, text)
    return len(gone)


def _edited(path: Path, name: str, change: Callable[[KeyLine], KeyLine | None]) -> str:
    """The file's text with the lines of that name changed, or left out. Raises `NotFound` when there is none."""
    kept: list[str] = []
    changed = False
    for number, text in enumerate(read_text(path).splitlines(), 1):
        entry = text.strip()
        line = parse_line(entry, number) if entry and not entry.startswith("#") else None
        if line is None or line.principal.name != name:
            kept.append(text)
            continue
        changed = True
        instead = change(line)
        if instead is not None:
            kept.append(instead.text())
    if not changed:
        raise NotFound(f"there is no key of {name[:100]!r} in the file; `ragstone keys list` shows whose there are.", field="name")
    return "".join(line + "\n" for line in kept)


def _write(path: Path, text: str) -> None:
    """Another file in its place, with its rights: a server that looks meanwhile sees the old one or the new one."""
    target = path.resolve()  # a symbolic link stays one
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o600
        descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=".keys-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(draft).replace(target)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        sync_directory(target.parent)
    except OSError:
        raise InvalidInput("api_keys_file: it can't be written; check its path and rights.", field="api_keys_file") from None
