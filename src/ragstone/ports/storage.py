"""The room that is left where data is kept."""

from __future__ import annotations

from typing import Protocol


class Storage(Protocol):
    """Contract:

    - `free` gives bytes: (free, needed). Below `needed` the stores begin to refuse writes. Raises `Unavailable` when it can't be told.
    """

    async def free(self) -> tuple[int, int]: ...
