"""Who may come in: keys, tokens, and the secret of the hook."""

from __future__ import annotations

from collections.abc import Callable

from ragstone.adapters.key_file import KeyFile
from ragstone.bootstrap.secrets import secret_of
from ragstone.domain.errors import InvalidInput
from ragstone.ports.authenticator import Authenticator
from ragstone.settings import model as configured
from ragstone.settings import stores
from ragstone.settings.model import Settings

_SHORTEST = 16  # characters of a secret that signs


def authenticator(settings: Settings) -> Authenticator | None:
    """Who knows the keys and tokens of the settings, None where there are none. Blocking. Raises `InvalidInput` for a file that can't be used."""
    keys = KeyFile(settings.api_keys_file) if settings.api_keys_file is not None else None
    if settings.oidc is None:
        return keys
    from ragstone.adapters.bearers import KeysAndTokens  # noqa: PLC0415 - cryptography and an HTTP client are slow to import

    tokens = _tokens(settings.oidc)
    return tokens if keys is None else KeysAndTokens(keys, tokens)


def _tokens(settings: configured.OidcSettings) -> Authenticator:
    from ragstone.adapters.oidc import OidcAuthenticator, TokenRules  # noqa: PLC0415
    from ragstone.adapters.oidc_keys import IssuerKeys  # noqa: PLC0415

    rules = TokenRules(
        issuer=settings.issuer,
        audience=settings.audience,
        algorithms=frozenset(settings.algorithms),
        skew=settings.clock_skew,
        name_claim=settings.name_claim,
        scopes_claim=settings.scopes_claim,
        scopes_prefix=settings.scopes_prefix,
        groups_claim=settings.groups_claim,
    )
    keys = IssuerKeys(
        settings.issuer,
        settings.jwks_url,
        keep=settings.keys_seconds,
        pause=settings.refresh_seconds,
        timeout=settings.timeout,
        most_bytes=settings.max_bytes,
    )
    return OidcAuthenticator(rules, keys)


def hook_secret(settings: Settings) -> Callable[[], str] | None:
    """What signs the messages of lakeFS' hook, asked for each time; None: no hook. Blocking. Raises `InvalidInput` for a file that can't be used."""
    lakefs = settings.versions
    if not isinstance(lakefs, stores.LakeFsVersions) or (lakefs.hook_secret is None and lakefs.hook_secret_file is None):
        return None
    secret = secret_of("versions.hook_secret", lakefs.hook_secret, lakefs.hook_secret_file)
    if len(secret()) < _SHORTEST:
        raise InvalidInput(
            f"versions.hook_secret: it is shorter than {_SHORTEST} characters; `openssl rand -hex 32` makes one.", field="versions"
        )
    return secret
