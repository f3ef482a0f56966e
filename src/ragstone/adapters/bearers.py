"""Keys and tokens side by side."""

from __future__ import annotations

from ragstone.adapters.oidc import is_token
from ragstone.domain.access import Principal
from ragstone.ports.authenticator import Authenticator


class KeysAndTokens:
    """`Authenticator`: a bearer of a token's form goes to `tokens`, any other to `keys`."""

    def __init__(self, keys: Authenticator, tokens: Authenticator) -> None:
        self._keys = keys
        self._tokens = tokens

    async def principal(self, key: str) -> Principal | None:
        return await (self._tokens if is_token(key) else self._keys).principal(key)

    async def close(self) -> None:
        await self._keys.close()
        await self._tokens.close()
