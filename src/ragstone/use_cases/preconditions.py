"""If-Match: what a request touches must not have changed since the commit that it names (docs/conflicts.md)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit, HeadConflict
from ragstone.domain.errors import Gone, InvalidInput, NotFound, PreconditionFailed
from ragstone.domain.jobs import Change, ChangeRequest, Delete, Move, Put, Restore
from ragstone.ports.catalog import Catalog
from ragstone.ports.version_store import VersionStore

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_LISTED = 20  # paths in a message, a job's result and a problem document
_NAMED = 3  # of them in the sentence


class Preconditions:
    """Checked when a request comes, to refuse early, and again under the lease, where the head can't move any more."""

    def __init__(self, catalog: Catalog, versions: VersionStore) -> None:
        self._catalog = catalog
        self._versions = versions

    async def check(self, collection: Collection, request: ChangeRequest) -> None:
        """Raises `PreconditionFailed` with the head and the paths that changed, `InvalidInput` for what is no commit id."""
        check_form(request.expected_head)
        head = await self._catalog.head(collection.name)
        expected = request.expected_head
        if expected is None or expected == (head.id if head else ""):
            return
        if head is None or not expected:
            raise _failed(head, "the collection is empty" if head is None else "the collection is not empty any more")
        try:
            base = await self._catalog.commit(collection.name, expected)
        except NotFound:
            raise _failed(head, f"this collection has no commit {expected[:12]}") from None
        except Gone:
            raise _failed(head, f"commit {expected[:12]} was pruned, so what changed since is not known any more") from None
        if base.id == head.id:
            return
        if request.exact_head or _touches_everything(request):
            raise _failed(head, f"the head is not {base.id[:12]} any more, and this request touches every document")
        changed = [change.path for change in await self._versions.diff(collection.uid, base.id, head.id)]
        conflicts = _touched(changed, request.changes)
        if conflicts:
            raise _failed(head, _sentence(conflicts, base.id), conflicts)


def check_form(expected: str | None) -> None:
    """Raises `InvalidInput` unless it is None, empty (for an empty collection), or 7 or more digits of a commit id."""
    if expected and not _COMMIT.fullmatch(expected):
        raise InvalidInput(
            "If-Match: name a commit id, 7 or more digits of it, or an empty string for an empty collection.", field="If-Match"
        )


def _touches_everything(request: ChangeRequest) -> bool:
    return request.mirror or any(isinstance(change, Restore) for change in request.changes)


def _touched(changed: Sequence[str], changes: Sequence[Change]) -> list[str]:
    """Those of the paths `changed` that a request's changes name, or that lie under a prefix it deletes."""
    paths: set[str] = set()
    prefixes: list[str] = []
    for change in changes:
        match change:
            case Put(path=path) | Delete(path=path, prefix=False):
                paths.add(path)
            case Delete(path=prefix):
                prefixes.append(prefix)
            case Move(source=source, target=target):
                paths |= {source, target}
    beginnings = tuple(prefixes)
    return [path for path in changed if path in paths or path.startswith(beginnings)]


def _sentence(conflicts: Sequence[str], base: str) -> str:
    named = ", ".join(repr(path[:200]) for path in conflicts[:_NAMED])
    more = f" and {len(conflicts) - _NAMED:,} more" if len(conflicts) > _NAMED else ""
    return f"what this request touches has changed since {base[:12]} ({named}{more})"


def _failed(head: Commit | None, reason: str, conflicts: Sequence[str] = ()) -> PreconditionFailed:
    at = f"The head is {head.id}" if head else "There is no head"
    told = HeadConflict(
        head.id if head else None, head.position if head else None, head.seq if head else None, tuple(conflicts[:_LISTED]), len(conflicts)
    )
    return PreconditionFailed(f"If-Match: {reason}. {at}; read it again and decide.", conflict=told)
