"""Inboxes in a dictionary: `commit` is what people do."""

from __future__ import annotations

from collections.abc import Mapping

from ragstone.domain.errors import NotFound
from ragstone.domain.inbox import Push, PushedDocument

PREFIX = "ragstone-"


class InMemoryInbox:
    """Implements `Inbox`."""

    def __init__(self) -> None:
        self._trees: dict[str, list[dict[str, bytes]]] = {}  # by repository, one a commit; the first is what it began with
        self._authors: dict[str, tuple[str, str]] = {}
        self._taken: dict[str, int] = {}
        self.taken = 0  # how often

    def commit(self, repo: str, put: Mapping[str, bytes], *removed: str, author: str = "ann", message: str = "") -> str:
        """Returns the commit's id. What is removed was there from the start."""
        trees = self._trees.setdefault(repo, [dict.fromkeys(removed, b"")])
        trees.append({path: content for path, content in {**trees[-1], **put}.items() if path not in removed})
        self._authors[repo] = author, message
        return f"{repo}-{len(trees) - 1}"

    async def push(self, repo: str) -> Push | None:
        trees = self._trees.get(repo, [{}])
        taken, tip = self._taken.get(repo, 0), len(trees) - 1
        if tip == taken:
            return None
        old, new = trees[taken], trees[tip]
        puts = tuple(PushedDocument(path, len(content)) for path, content in sorted(new.items()) if old.get(path) != content)
        return Push(f"{repo}-{tip}", *self._authors[repo], puts, tuple(sorted(old.keys() - new.keys())))

    async def read(self, repo: str, tip: str, path: str) -> bytes:
        try:
            return self._trees[repo][int(tip.rpartition("-")[2])][path]
        except KeyError:
            raise NotFound(f"there is no {path!r} in the inbox.") from None

    async def take(self, repo: str, push: Push) -> None:
        self.taken += 1
        self._taken[repo] = int(push.tip.rpartition("-")[2])

    def repository(self, name: str) -> str | None:
        return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None
