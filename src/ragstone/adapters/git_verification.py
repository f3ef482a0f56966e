"""Whether commits can be read whole: every object that they need is there, has its hash, and can be parsed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from dulwich.errors import FileFormatException
from dulwich.objects import Tree

from ragstone.adapters import git_tree
from ragstone.adapters.git_repository import GitRepository
from ragstone.domain.errors import DataDirectoryError, NotFound

_NAMES = {1: b"commit", 2: b"tree", 3: b"blob"}


def unreadable(repository: GitRepository, commits: Collection[str]) -> list[str]:
    """Those of `commits` that lack something. Each object is read once, however many commits need it."""
    known: dict[bytes, bool] = {}
    return [commit for commit in commits if not _readable(repository, commit, known)]


def _readable(repository: GitRepository, commit: str, known: dict[bytes, bool]) -> bool:
    try:
        root = repository.root(commit)
    except (NotFound, KeyError, OSError, DataDirectoryError, FileFormatException, ValueError):
        return False
    return _whole(repository, commit.encode(), known, leaf=True) and (root == git_tree.EMPTY or _whole(repository, root, known))


def _whole(repository: GitRepository, object_id: bytes, known: dict[bytes, bool], *, leaf: bool = False) -> bool:
    if object_id not in known:
        known[object_id] = False  # until it is shown
        try:
            kind, content = repository.objects.read(object_id)
            if hashlib.sha1(b"%s %d\0" % (_NAMES[kind], len(content)) + content, usedforsecurity=False).hexdigest().encode() == object_id:
                entries = Tree.from_string(content).items() if kind == 2 and not leaf else []
                known[object_id] = all(_whole(repository, entry.sha, known) for entry in entries)
        except (KeyError, OSError, DataDirectoryError, FileFormatException, ValueError):
            return False
    return known[object_id]
