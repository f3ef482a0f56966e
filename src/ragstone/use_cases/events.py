"""Tells other systems of a published commit and of each document that it changed."""

from __future__ import annotations

from ragstone.domain.collections import Collection
from ragstone.domain.commits import Commit
from ragstone.domain.errors import NotFound
from ragstone.domain.events import commit_published, document_changed
from ragstone.ports.event_publisher import EventPublisher
from ragstone.ports.version_store import VersionStore

_PAGE = 500  # documents that are looked up and told of at a time


class Events:
    """Publishes commits (`CommitRelay` hands them on): first what changed, document by document, then the commit."""

    def __init__(self, versions: VersionStore, publisher: EventPublisher) -> None:
        self._versions = versions
        self._publisher = publisher

    async def publish(self, collection: Collection, commit: Commit) -> None:
        """Done again it tells the same under the same ids. Raises `Unavailable`."""
        told = await self._documents(collection, commit)
        await self._publisher.publish([commit_published(collection, commit, told)])

    async def _documents(self, collection: Collection, commit: Commit) -> int | None:
        """How many documents were told of; None for a commit, or a parent, that was pruned: what it changed is not known any more."""
        try:
            changes = await self._versions.diff(collection.uid, commit.parent_id, commit.id)
            for start in range(0, len(changes), _PAGE):
                page = changes[start : start + _PAGE]
                there = [change.path for change in page if change.kind != "removed"]
                infos = await self._versions.infos(collection.uid, commit.id, there) if there else {}
                await self._publisher.publish([document_changed(collection, commit, change, infos.get(change.path)) for change in page])
        except NotFound:
            return None
        return len(changes)
