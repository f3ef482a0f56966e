"""A copy of everything that a data directory holds, taken while it is in use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from typing import Protocol


class BackupCopy(Protocol):
    """Contract: `stream` gives the archive's bytes, once. `close` lets go of what the copy takes, whether it was read or not; done again it does nothing."""

    def stream(self) -> AsyncGenerator[bytes, None]: ...

    async def close(self) -> None: ...


class Backup(Protocol):
    """Contract:

    - `copy(collections)`: a copy as of one moment: every collection at the head that it had then, with its whole history, and the interactions logged by
      then. What was not published then is not in it. Readers and writers go on. The caller sees to it that nothing is taken away from
      these collections meanwhile (`Maintenance.exclusive`); raises `Conflict` when there are others, or one of them went.
    - Raises `Busy` while another copy is made or not closed, `StorageFull` when there is no room for one.
    """

    async def copy(self, collections: Collection[str]) -> BackupCopy: ...
