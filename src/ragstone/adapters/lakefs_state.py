"""What ragstone remembers of a repository in lakeFS itself: what was forgotten and collected, and commits that no branch leads to.

lakeFS' commits can't be changed, and the open server has no compare-and-swap of an object. So the state only grows: every change is a small object of its own,
`state/<id>.json` on branch `ragstone`, and the state is the union of all of them, in whatever order they came. A change is one object, so
it is there whole or not at all; many are melted into one now and then, which changes nothing in the union.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

from ragstone.adapters.lakefs_client import LakeFsClient
from ragstone.adapters.lakefs_errors import Refused
from ragstone.adapters.lakefs_layout import STATE
from ragstone.domain.errors import Conflict, DataDirectoryError, NotFound, Unavailable
from ragstone.domain.ids import new_id

_FORMAT = 1
_FOLDER = "state/"
_MANY = 16  # objects, before they are melted into one
_TRIES = 5


@dataclass(frozen=True, slots=True)
class State:
    """`root`: the commit that the repository began with, empty. `forgotten`: by commit, the paths that are not read there any more, and `collected`: the
    commits whose documents went; each with whether its bytes were deleted. `orphans`: commits of branches that were dropped. `inbox`: the
    commit up to which the inbox was brought in, behind its generation.
    """

    repository: str
    root: str
    forgotten: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    collected: Mapping[str, bool] = field(default_factory=dict)
    orphans: frozenset[str] = frozenset()
    inbox: tuple[int, str] = (0, "")

    def masked(self, commit: str) -> frozenset[str]:
        """The paths that are not read in the commit."""
        return frozenset(self.forgotten.get(commit, ()))

    def __or__(self, other: State) -> State:
        """Both together. Raises `DataDirectoryError` when they are of different repositories."""
        if (self.repository, self.root) != (other.repository, other.root):
            raise DataDirectoryError(f"versions: lakeFS' branch {STATE!r} holds the state of another repository; restore it from a backup.")
        return State(
            self.repository,
            self.root,
            {
                commit: _either(self.forgotten.get(commit, {}), other.forgotten.get(commit, {}))
                for commit in {*self.forgotten, *other.forgotten}
            },
            _either(self.collected, other.collected),
            self.orphans | other.orphans,
            max(self.inbox, other.inbox),
        )


class StateLog:
    """The states of repositories; what was read is remembered by its object, which never changes."""

    def __init__(self, client: LakeFsClient) -> None:
        self._client = client
        self._known: dict[str, tuple[frozenset[str], State]] = {}

    async def begin(self, name: str, repository: str, root: str) -> None:
        """Marks a new repository as ours."""
        await self._client.create_branch(name, STATE, root)
        await self._write(name, State(repository, root))

    async def read(self, name: str, repository: str) -> State:
        """As it is now. Raises `NotFound` when there is no such repository, `DataDirectoryError` when it is not ours or has lost its state."""
        for _ in range(_TRIES):
            keys = await self._keys(name, repository)
            known = self._known.get(name)
            if known is not None and known[0] == keys:
                return known[1]
            try:
                parts = [_decode(await self._client.content(name, STATE, key)) for key in sorted(keys)]
            except NotFound:  # melted meanwhile
                continue
            state = reduce(State.__or__, parts)
            if state.repository != repository:
                raise _foreign(name)
            self._known[name] = keys, state
            return state
        raise Unavailable("The version store (lakeFS) changes too fast to be read; try again.", field="versions")

    async def add(self, name: str, repository: str, **changes: object) -> None:
        """Makes `changes` (fields of `State`) part of it; durable. Done again it does nothing."""
        state = await self.read(name, repository)
        await self._write(name, State(state.repository, state.root, **changes))  # type: ignore[arg-type]  # fields of State
        await self._melt(name, repository)

    def forget(self, name: str) -> None:
        """The repository is gone."""
        self._known.pop(name, None)

    async def _melt(self, name: str, repository: str) -> None:
        keys = await self._keys(name, repository)
        if len(keys) <= _MANY:
            return
        state = await self.read(name, repository)
        melted = self._known[name][0]
        done = {commit for commit, swept in state.collected.items() if swept}
        forgotten = {commit: paths for commit, paths in state.forgotten.items() if commit not in done}
        await self._write(name, State(state.repository, state.root, forgotten, state.collected, state.orphans - done, state.inbox))
        await self._client.delete(name, STATE, sorted(melted))
        await self._commit(name)

    async def _keys(self, name: str, repository: str) -> frozenset[str]:
        try:
            keys = frozenset([entry.key async for entry in self._client.entries(name, STATE, _FOLDER)])
        except NotFound:
            if await self._client.namespace(name) is None:
                raise NotFound(f"there is no repository {repository[:80]!r}.") from None
            raise _foreign(name) from None
        if not keys:
            raise _foreign(name)
        return keys

    async def _write(self, name: str, state: State) -> None:
        await self._client.upload(name, STATE, f"{_FOLDER}{new_id()}.json", _encode(state), "application/json")
        await self._commit(name)

    async def _commit(self, name: str) -> None:
        """What is uploaded counts already; in a commit it is part of lakeFS' own backups."""
        try:
            await self._client.commit(name, STATE, "ragstone's own state", {})
        except (Refused, Conflict, Unavailable):  # someone committed it just now, or will with the next change
            return


def _either(one: Mapping[str, bool], other: Mapping[str, bool]) -> dict[str, bool]:
    return {name: one.get(name, False) or other.get(name, False) for name in {*one, *other}}


def _encode(state: State) -> bytes:
    fields = {
        "format": _FORMAT,
        "repository": state.repository,
        "root": state.root,
        "forgotten": state.forgotten,
        "collected": state.collected,
        "orphans": sorted(state.orphans),
        "inbox": state.inbox,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _decode(encoded: bytes) -> State:
    try:
        fields = json.loads(encoded)
        if fields["format"] != _FORMAT:
            raise DataDirectoryError(f"versions: a newer ragstone wrote lakeFS' branch {STATE!r}; use that one.")
        generation, commit = fields["inbox"]
        return State(
            str(fields["repository"]),
            str(fields["root"]),
            {commit: dict(paths) for commit, paths in fields["forgotten"].items()},
            dict(fields["collected"]),
            frozenset(fields["orphans"]),
            (int(generation), str(commit)),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataDirectoryError(f"versions: someone changed lakeFS' branch {STATE!r}; restore it from a backup.") from None


def _foreign(name: str) -> DataDirectoryError:
    return DataDirectoryError(
        f"versions: lakeFS' repository {name!r} is not ragstone's, or has lost its branch {STATE!r}; bring the branch back, or choose another "
        "versions.repository_prefix."
    )
