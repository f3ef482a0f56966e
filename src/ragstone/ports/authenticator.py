"""Tells who presents a key."""

from __future__ import annotations

from typing import Protocol

from ragstone.domain.access import Principal


class Authenticator(Protocol):
    """Knows keys by their hashes only.

    - `principal` gives the owner of a key, None for a key that is not known (the empty one never is). Keys that were added count, and keys that
      were withdrawn count no longer, within two seconds. It takes the same time for every unknown key, and neither raises nor tells a key.
    """

    async def principal(self, key: str) -> Principal | None: ...
