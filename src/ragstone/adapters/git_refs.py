"""Refs of one bare repository, durable under Git's own locks: one at a time, or many at once in `packed-refs`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from dulwich.file import FileLocked
from dulwich.refs import Ref, RefsContainer

from ragstone.adapters.durable_files import sync_directory, write_durably
from ragstone.domain.errors import Unavailable

T = TypeVar("T")
MAIN = Ref(b"refs/heads/main")
ATTEMPTS = Ref(b"refs/heads/attempt")
REPLACE = Ref(b"refs/replace")  # Git's own: <commit> is read as what its ref points to
KEPT = Ref(b"refs/ragstone/kept")  # commits that can be read, but are not to be reached from a branch
_LOCK_TRIES, _LOCK_PAUSE = 50, 0.02  # a person may be pushing to the repository: seconds


class GitRefs:
    """Names of commits. Not dulwich's `set_if_equals`: when the disk is full it leaves its lock behind."""

    def __init__(self, path: Path, refs: RefsContainer) -> None:
        self._path = path
        self._refs = refs

    def get(self, ref: Ref) -> str | None:
        """The commit that a ref names."""
        value = self._refs.read_ref(ref)
        return value.decode() if value else None

    def under(self, folder: Ref) -> dict[str, str]:
        """What the refs under `folder` point to, by their names below it."""
        names = sorted(self._refs.subkeys(folder))
        values = {name.decode(): self.get(Ref(folder + b"/" + name)) for name in names}
        return {name: value for name, value in values.items() if value}

    def tips(self) -> dict[str, str]:
        """Every ref but those that say how to read other commits; what each points to."""
        found = {f"refs/{name}": value for name, value in self.under(Ref(b"refs")).items()}
        return {name: value for name, value in found.items() if not name.startswith((REPLACE.decode(), KEPT.decode()))}

    def set(self, ref: Ref, new: str) -> None:
        """Durable when it returns. Raises `Unavailable` when somebody holds the lock for long."""
        path = self._path / ref.decode()
        if not path.parent.exists():
            path.parent.mkdir()
            sync_directory(path.parent.parent)
        _patiently(lambda: write_durably(path, f"{new}\n".encode(), path.with_name(f"{path.name}.lock")))
        sync_directory(path.parent)

    def remove(self, ref: Ref) -> None:
        """An absent one is fine."""
        (self._path / ref.decode()).unlink(missing_ok=True)
        if self.get(ref) is not None:  # someone ran `git pack-refs`
            _patiently(partial(self._refs.remove_if_equals, ref, None))

    def change(self, changes: Mapping[Ref, str | None]) -> None:
        """All of them at once, or none; None removes. Durable when it returns."""
        if not changes:
            return
        path = self._path / "packed-refs"

        def rewrite() -> None:
            old = path.read_bytes() if path.exists() else b""
            write_durably(path, _edited(old, changes), path.with_name("packed-refs.lock"))

        _patiently(rewrite)
        for ref in changes:
            (self._path / ref.decode()).unlink(missing_ok=True)  # it would count instead
        sync_directory(self._path)

    def set_shallow(self, ends: Collection[str]) -> None:
        """Tells Git's tools not to look behind these commits. Durable when it returns."""
        path = self._path / "shallow"
        if not ends:
            path.unlink(missing_ok=True)
        else:
            content = "".join(f"{commit}\n" for commit in sorted(ends)).encode()
            _patiently(lambda: write_durably(path, content, path.with_name("shallow.lock")))
        sync_directory(self._path)


def _edited(old: bytes, changes: Mapping[Ref, str | None]) -> bytes:
    """`packed-refs` with other entries. A line that begins with `^` tells more of the line before it."""
    header = b"# pack-refs with: sorted \n"
    entries: dict[bytes, bytes] = {}
    ref = b""
    for line in old.splitlines(keepends=True):
        if line.startswith(b"#"):
            header = line
        elif line.startswith(b"^"):
            entries[ref] += line
        else:
            ref = line.split(b" ", 1)[1].strip()
            entries[ref] = line
    for changed, value in changes.items():
        if value is None:
            entries.pop(changed, None)
        else:
            entries[changed] = b"%s %s\n" % (value.encode(), changed)
    return header + b"".join(entries[ref] for ref in sorted(entries))


def _patiently(operation: Callable[[], T]) -> T:
    for _ in range(_LOCK_TRIES):
        try:
            return operation()
        except (FileLocked, FileExistsError):
            time.sleep(_LOCK_PAUSE)
    raise Unavailable("a branch of the version store stays locked; remove what else writes to it.")
