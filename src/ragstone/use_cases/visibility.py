"""Document-level access: what a principal may see of a collection, now, whatever the commit."""

from __future__ import annotations

import logging
from collections.abc import Collection as Collection_
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ragstone.domain.access import EVERYTHING, DocumentAcl, Principal, Scope, View, check_groups, no_collection
from ragstone.domain.collections import Collection
from ragstone.domain.errors import Forbidden, Gone, InvalidInput, NotFound, RagstoneError
from ragstone.domain.names import check_document_path
from ragstone.ports.catalog import Catalog
from ragstone.ports.document_acls import DocumentAcls
from ragstone.ports.vector_index import VectorIndex

_log = logging.getLogger(__name__)
_VIEWS = 256  # of a collection that are remembered
_OPEN: frozenset[str] = frozenset()  # of a document that everyone may see


@dataclass(frozen=True, slots=True)
class _Known:
    """What a process remembers of a collection, while the version is the stored one. `views`: by groups of principals."""

    version: int
    groups: dict[str, frozenset[str]]
    views: dict[frozenset[str], View] = field(default_factory=dict)

    def view(self, groups: frozenset[str]) -> View:
        """What members of these groups, and of no others, see."""
        if groups not in self.views:
            if len(self.views) >= _VIEWS:
                self.views.clear()
            hidden = frozenset(path for path, members in self.groups.items() if not members & groups)
            self.views[groups] = View(groups, hidden) if hidden else EVERYTHING
        return self.views[groups]


class Visibility:
    """The groups of documents: the catalog's database is the truth, the index follows (ADR 0023)."""

    def __init__(self, acls: DocumentAcls, catalog: Catalog, index: VectorIndex) -> None:
        self._acls = acls
        self._catalog = catalog
        self._index = index
        self._known: dict[str, _Known] = {}

    async def view(self, collection: Collection, principal: Principal) -> View:
        """What the principal may see of the collection now. Its first barrier is the index's filter, its second `View.shows`."""
        if principal.may(Scope.ADMIN, collection.name):
            return EVERYTHING
        return (await self._current(collection.uid)).view(principal.groups)

    async def view_of(self, name: str, principal: Principal) -> View:
        """The same by the collection's name. Raises `NotFound` when it is not there, or not theirs to read."""
        if not principal.may(Scope.READ, name):
            raise no_collection(name)
        if principal.may(Scope.ADMIN, name):
            return EVERYTHING
        return await self.view(await self._catalog.collection(name), principal)

    async def ensure_shown(self, collection: Collection, principal: Principal, paths: Iterable[str]) -> None:
        """Before what was read leaves: whoever was let in when the read began may have been shut out since. Raises `Gone`."""
        if not (await self.view(collection, principal)).shows_all(paths):
            raise Gone("Who may see a document of this answer has changed while it was made; ask again.")

    async def ensure_writable(self, collection: Collection, principal: Principal, paths: Iterable[str], *, everything: bool) -> View:
        """Before a change is accepted. `everything`: it may touch documents that it does not name (mirror, prefixes, rollback).

        Raises `Forbidden` for documents that the principal may not see: what they can't see they can't replace or remove. Returns their view.
        """
        view = await self.view(collection, principal)
        if view.whole:
            return view
        if everything:
            raise Forbidden(
                "This change touches documents that it does not name, and some of the collection may be kept from you; an admin of it can make it."
            )
        for path in paths:
            if not view.shows(path):
                raise Forbidden(
                    f"{path[:200]}: documents at this path are kept for groups that you are not in; choose another path.", field="path"
                )
        return view

    async def give(self, collection: Collection, principal: Principal, groups: Mapping[str, frozenset[str]]) -> None:
        """Sets the groups of documents that come with an ingestion, before it is accepted. Others than admins set them where there are none.

        Raises `Forbidden`, and `InvalidInput` for who would not see their own documents.
        """
        if not groups:
            return
        if not principal.may(Scope.ADMIN, collection.name):
            known = await self._groups(collection.uid)
            groups = {path: members for path, members in groups.items() if members != known.get(path, _OPEN)}
            for path, members in groups.items():
                if path in known:
                    raise Forbidden(
                        f"{path[:200]}: its groups are set already; an admin of the collection can change them.", field="groups"
                    )
                if not members & principal.groups:
                    raise InvalidInput(f"{path[:200]}: name a group that you are in, or you could not see it yourself.", field="groups")
        await self._change(collection, groups)

    async def change(self, name: str, groups: Mapping[str, Collection_[str]]) -> None:
        """Sets documents' groups: from now on they decide, in every commit. Returns once the index has them too."""
        checked = {check_document_path(path): check_groups(members) for path, members in groups.items()}
        await self._change(await self._catalog.collection(name), checked)

    async def inherit(self, collection: Collection, moves: Iterable[tuple[str, str]]) -> None:
        """Gives the targets of moves the groups of their sources, where they have none of their own: before the documents get there."""
        groups = dict(await self._groups(collection.uid))
        given: dict[str, frozenset[str]] = {}
        for source, target in moves:
            if source in groups and target not in groups:
                groups[target] = given[target] = groups[source]
        if given:
            await self._change(collection, given)

    async def groups(self, name: str, path: str) -> DocumentAcl:
        """Raises `NotFound` for a document that everyone may see."""
        groups = await self._groups((await self._catalog.collection(name)).uid)
        if path not in groups:
            raise NotFound(f"{path[:200]!r} is open to everyone who may read the collection.", field="path")
        return DocumentAcl(path, groups[path])

    async def page(self, name: str, *, prefix: str = "", after: str = "", limit: int = 100) -> list[DocumentAcl]:
        """Documents that not everyone may see, in order of path."""
        return await self._acls.page((await self._catalog.collection(name)).uid, prefix=prefix, after=after, limit=limit)

    async def of_paths(self, collection: Collection, paths: Iterable[str]) -> dict[str, frozenset[str]]:
        """The groups of those that are not open to everyone."""
        groups = await self._groups(collection.uid)
        return {path: groups[path] for path in paths if path in groups} if groups else {}

    async def follow(self, collection: Collection, index: str, written: dict[str, frozenset[str]], paths: Iterable[str]) -> None:
        """After points of these documents were written with the groups `written`: those that were changed meanwhile are set anew.

        Whoever changes them later finds the points in the index, and sets them there.
        """
        now = await self.of_paths(collection, paths)
        for path in {path for path in paths if now.get(path) != written.get(path)}:
            await self._bring(collection, [index], path)

    async def settle(self, collection: Collection, *, again: bool = False) -> None:
        """Brings the index to what is set; `again`: all of it, after the index was mended or made anew. Can be repeated."""
        indexes = [collection.index_name(space.id) for space in collection.spaces]
        if again:
            for path in await self._groups(collection.uid):
                await self._bring(collection, indexes, path)
        while changes := await self._acls.unsettled(collection.uid):
            for path, (_, version) in changes.items():
                await self._bring(collection, indexes, path)
                await self._acls.settle(collection.uid, path, version)

    async def sweep(self) -> None:
        """Finishes what a process that was killed, or an index that was away, left: until then the second barrier alone holds."""
        for uid in await self._acls.collections():
            collection = next((one for one in await self._catalog.collections() if one.uid == uid), None)
            try:
                if collection is None:
                    await self._acls.drop(uid)
                else:
                    await self.settle(collection)
            except RagstoneError as error:
                _log.warning("groups of documents are not in the index yet: %s", error.message)

    async def drop(self, uid: str) -> None:
        """The collection was deleted."""
        await self._acls.drop(uid)
        self._known.pop(uid, None)

    async def _change(self, collection: Collection, groups: Mapping[str, frozenset[str]]) -> None:
        await self._acls.change(collection.uid, groups)
        # Read anew: a space that was registered meanwhile is settled too, and what is written to one that is registered later finds the change.
        now = await self._catalog.collection(collection.name)
        await self.settle(now if now.uid == collection.uid else collection)

    async def _bring(self, collection: Collection, indexes: Iterable[str], path: str) -> None:
        """Sets in the index what counts now. Of two who do this at once the last one may come with the older groups: so each looks again."""
        told: frozenset[str] | None = None
        while (wanted := (await self._groups(collection.uid)).get(path, _OPEN)) != told:
            for index in indexes:
                if await self._index.exists(index):
                    await self._index.set_groups(index, path, wanted)
            told = wanted

    async def _groups(self, uid: str) -> dict[str, frozenset[str]]:
        return (await self._current(uid)).groups

    async def _current(self, uid: str) -> _Known:
        known = self._known.get(uid)
        version = await self._acls.version(uid)
        if known is None or known.version != version:
            known = self._known[uid] = _Known(*await self._acls.every(uid))
        return known
