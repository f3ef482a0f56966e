"""Bearer tokens of an OpenID Connect issuer: JWTs that are checked here, by the issuer's public keys."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jwt

from ragstone.adapters.oidc_keys import IssuerKeys
from ragstone.domain.access import Grant, Principal, Scope, check_groups, parse_scopes
from ragstone.domain.errors import InvalidInput, Unauthorized

_MOST = 16 * 1024  # characters of a token
_MOST_GRANTS = 200
_LONGEST_NAME = 200
_PREFIX = "oidc:"  # no key's name has a colon in it: a token's owner is never taken for a key's
_NOT_OURS = "this token is not one of this server's issuer"


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token has to be, and where in it is what. `skew`: seconds by which clocks may differ. `algorithms`: asymmetric ones."""

    issuer: str
    audience: str
    algorithms: frozenset[str]
    skew: float
    name_claim: str
    scopes_claim: str
    scopes_prefix: str
    groups_claim: str


class OidcAuthenticator:
    """`Authenticator` over the tokens of one issuer.

    Of a token that the issuer did not sign, nothing is told but that; only its owner learns that it has expired or is for somebody else.
    """

    def __init__(self, rules: TokenRules, keys: IssuerKeys) -> None:
        self._rules = rules
        self._keys = keys

    async def principal(self, key: str) -> Principal | None:
        if not is_token(key):
            return None
        return self._principal(await self._claims(key))

    async def close(self) -> None:
        await self._keys.close()

    async def _claims(self, token: str) -> dict[str, Any]:
        rules = self._rules
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _refused(_NOT_OURS) from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in rules.algorithms or not isinstance(kid, str) or not kid:
            raise _refused(_NOT_OURS)
        key = await self._keys.get(kid)
        if key is None or algorithm not in key.algorithms:
            raise _refused(_NOT_OURS)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=rules.skew,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise _refused("this token has expired; get a new one") from None
        except jwt.ImmatureSignatureError:
            raise _refused("this token is not valid yet; check the clocks") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise _refused("this token is for another server or of another issuer") from None
        except jwt.MissingRequiredClaimError as error:
            raise _refused(f"this token has no claim {error.claim}") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise _refused(_NOT_OURS) from None
        return claims

    def _principal(self, claims: dict[str, Any]) -> Principal:
        rules = self._rules
        name = claims.get(rules.name_claim)
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise _refused(f"this token's claim {rules.name_claim} is no name of 1 to {_LONGEST_NAME} letters")
        everywhere, grants = self._scopes(_words(claims.get(rules.scopes_claim)))
        return Principal(_PREFIX + name, everywhere, grants, _groups(claims.get(rules.groups_claim)))

    def _scopes(self, words: Iterable[str]) -> tuple[Scope | None, tuple[Grant, ...]]:
        """The words that begin with the prefix, read as in a file of keys; the others are for somebody else."""
        everywhere: Scope | None = None
        grants: list[Grant] = []
        for word in words:
            if not word.startswith(self._rules.scopes_prefix):
                continue
            try:
                whole, some = parse_scopes(word.removeprefix(self._rules.scopes_prefix))
            except ValueError:
                continue  # grants nothing
            if whole is not None:
                everywhere = whole if everywhere is None else max(everywhere, whole)
            grants += some
        if len(grants) > _MOST_GRANTS:
            raise _refused(f"this token names more than {_MOST_GRANTS} scopes; have the issuer send fewer")
        return everywhere, tuple(grants)


def is_token(bearer: str) -> bool:
    """Whether it has the form of a signed JWT: three parts, of which the first is a JSON object."""
    parts = bearer.split(".")
    if len(parts) != 3 or len(bearer) > _MOST:
        return False
    head = parts[0]
    try:
        return isinstance(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))), dict)
    except (ValueError, RecursionError):
        return False


def _words(claim: object) -> list[str]:
    """A claim of words, with blanks between or as a list."""
    if isinstance(claim, str):
        return claim.split()
    return [word for word in claim if isinstance(word, str)] if isinstance(claim, list) else []


def _groups(claim: object) -> frozenset[str]:
    """The groups that a document can name; Keycloak's begin with a slash."""
    found: set[str] = set()
    for group in [claim] if isinstance(claim, str) else _words(claim):
        try:
            found |= check_groups([group.removeprefix("/")])
        except InvalidInput:
            continue  # no document is for it
    try:
        return check_groups(found)
    except InvalidInput as error:
        raise _refused(f"this token names too many groups: {error.message}") from None


def _refused(what: str) -> Unauthorized:
    return Unauthorized(f"Authorization: {what}.", field="Authorization")
