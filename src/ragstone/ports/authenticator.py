"""Tells who presents a key."""

from __future__ import annotations

from typing import Protocol

from ragstone.domain.access import Principal


class Authenticator(Protocol):
    """Knows keys by their hashes only, and tokens by whoever signed them.

    - `principal` gives the owner of a key or token, None for one that is not known (the empty one never is). Keys that were added count, and keys
      that were withdrawn count no longer, within two seconds; those that sign tokens within the time that the settings say. It takes the same time
      for every unknown key, and never tells one.
    - Raises `Unauthorized` with the reason for one that was known and is not good any more, or that is not what it says it is (an expired key,
      a forged token), and `Unavailable` when it can't be told now.
    """

    async def principal(self, key: str) -> Principal | None: ...

    async def close(self) -> None: ...
