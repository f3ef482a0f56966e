"""Documents that people push to the version store directly."""

from __future__ import annotations

from typing import Protocol

from ragstone.domain.inbox import Push


class Inbox(Protocol):
    """Contract (`repo` is a collection's uid; each repository may have one inbox, which people commit to and nobody else):

    - `push` tells what people put, changed and removed since what was taken last (at first: since the inbox was made); None when that is
      nothing, or there is no inbox. What came into it from the collection's own commits is not told.
    - `read` gives the bytes of one of its documents as of `tip`; raises `NotFound`.
    - `take(repo, push)`: everything up to that tip counts as taken, durable. Done again it does nothing.
    - `repository` finds a collection's uid by what the version store itself calls its repository; None for one that is not ragstone's.
    """

    async def push(self, repo: str) -> Push | None: ...

    async def read(self, repo: str, tip: str, path: str) -> bytes: ...

    async def take(self, repo: str, push: Push) -> None: ...

    def repository(self, name: str) -> str | None: ...
