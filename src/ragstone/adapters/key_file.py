"""API keys from a file of hashes, which may be replaced while the server runs (Kubernetes does that to a mounted secret)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ragstone.domain.access import Principal, check_groups, parse_scopes, scopes_text
from ragstone.domain.errors import InvalidInput, Unauthorized

_log = logging.getLogger(__name__)
_FIELD = "api_keys_file"
_LOOK_EVERY = 1.0  # seconds
_MOST_BYTES = 2**20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PREFIX = "ragstone_"  # by which scanners for leaked secrets know it
_OF_NOTHING = hashlib.sha256(b"").digest()  # what a shell makes of a variable that was not set

Version = tuple[int, int, int, int, int]


class KeyFile:
    """`Authenticator` over a file with one key a line (`KeyLine`); blank lines and `#` comments are allowed.

    It is looked at once a second at most, when a key is presented. A new version that can't be read or is wrong is logged, and the one before
    goes on to count. Raises `InvalidInput` when there is no good version to begin with. Blocking: make it outside the event loop.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._now = now
        self._version = _version(path)
        self._keys = _read(path)
        self._told: tuple[Version | None] | None = None  # the broken version that the log tells of
        self._looked = clock()
        self._look_running = False

    async def principal(self, key: str) -> Principal | None:
        if self._clock() - self._looked >= _LOOK_EVERY and not self._look_running:  # a look that lasts must not overtake the next one
            self._look_running = True  # whoever comes meanwhile goes by what is known
            try:
                await asyncio.to_thread(self._look)
            finally:
                self._looked, self._look_running = self._clock(), False
        # Looked up by its hash: how long that takes tells of hashes at most, and no key can be made to fit one.
        found = self._keys.get(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest())
        if found is None:
            return None
        if found.until is not None and self._now() >= found.until:
            told = datetime.fromtimestamp(found.until, UTC).isoformat(timespec="seconds")
            raise Unauthorized(f"Authorization: this key expired at {told}; ask for a new one.", field="Authorization")
        return found.principal

    async def close(self) -> None:
        """Nothing is open."""

    def _look(self) -> None:
        version = _version(self._path)
        if version == self._version:
            return
        try:
            self._keys = _read(self._path)
        except (
            InvalidInput
        ) as error:  # tried again at the next look, for rights and full tables of files change without the file; told once
            if self._told != (version,):
                _log.error("%s The keys of before stay in force.", error.message)
            self._told = (version,)
        else:
            self._version = version
            _log.warning("api_keys_file: read anew, it holds %d keys.", len(self._keys))


@dataclass(frozen=True, slots=True)
class KeyLine:
    """`name:scope:SHA-256 of the key in hexadecimal`, then, if need be, ` groups=a,b` and ` until=2027-01-31T00:00:00Z`.

    The scope is a word, or what `parse_scopes` reads: `docs=write,team-*=read`. `until`: Unix seconds from which the key does not count, None for never.
    """

    principal: Principal
    digest: bytes
    until: float | None = None

    def text(self) -> str:
        """The line."""
        fields = [f"{self.principal.name}:{scopes_text(self.principal)}:{self.digest.hex()}"]
        if self.principal.groups:
            fields.append(f"groups={','.join(sorted(self.principal.groups))}")
        if self.until is not None:
            fields.append(f"until={datetime.fromtimestamp(self.until, UTC).isoformat(timespec='seconds').replace('+00:00', 'Z')}")
        return " ".join(fields)


def new_key(name: str, scope: str, groups: Collection[str] = (), until: float | None = None) -> tuple[str, KeyLine]:
    """A random key of 256 bits, and its line for the file. Raises `InvalidInput` for what no line can hold."""
    if not _NAME.fullmatch(name):
        raise InvalidInput("name: use 1 to 100 letters, digits and . _ @ -, beginning with a letter or digit.", field="name")
    try:
        everywhere, grants = parse_scopes(scope)
    except ValueError as error:
        raise InvalidInput(
            f"scope: {str(error)[:80]!r} is neither read, write or admin nor COLLECTION=SCOPE (a * may end the collection's name).",
            field="scope",
        ) from None
    key = _PREFIX + secrets.token_urlsafe(32)
    principal = Principal(name, everywhere, grants, check_groups(groups))
    return key, KeyLine(principal, hashlib.sha256(key.encode()).digest(), until)


def parse_until(text: str, field: str = "until") -> float:
    """An ISO 8601 date or time (without an offset UTC) as Unix seconds. Raises `InvalidInput`."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidInput(f"{field}: {text[:80]!r} is not an ISO 8601 date or time; give one like 2027-01-31.", field=field) from None


def read_keys(path: Path) -> list[KeyLine]:
    """The keys of a file, in its order. Raises `InvalidInput`."""
    return list(_read(path).values())


def _version(path: Path) -> Version | None:
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _read(path: Path) -> dict[bytes, KeyLine]:
    """Lines by the hash of their key."""
    keys: dict[bytes, KeyLine] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        found = parse_line(entry, number)
        if found.digest in keys:
            raise _wrong(f"line {number} holds the same key as an earlier one; make each with `ragstone keys new`.")
        keys[found.digest] = found
    if not keys:
        raise _wrong("it holds no key; make one with `ragstone keys new NAME --scope admin` and put its line there.")
    return keys


def parse_line(entry: str, number: int) -> KeyLine:
    """One line of the file, by whose number errors go. Raises `InvalidInput`, never with what the line holds."""
    first, *fields = entry.split()
    name, _, rest = first.partition(":")
    words, _, digest = rest.partition(":")
    given = dict(field.partition("=")[::2] for field in fields)
    try:
        everywhere, grants = parse_scopes(words)
        groups = check_groups(given.pop("groups").split(",")) if "groups" in given else frozenset[str]()
        until = parse_until(given.pop("until")) if "until" in given else None
        right = _NAME.fullmatch(name) and _HASH.fullmatch(digest) and not given and len(fields) == bool(groups) + (until is not None)
    except (ValueError, InvalidInput):
        right = None
    if not right:
        raise _wrong(
            f"line {number} is not name:scope:hash, with groups=a,b and until=2027-01-31 after a blank if need be (scope read, write or admin, or "
            "COLLECTION=SCOPE,…; the SHA-256 of the key in lower-case hexadecimal)."
        )
    found = bytes.fromhex(digest)
    if found == _OF_NOTHING:
        raise _wrong(f"line {number} holds the hash of an empty key; make one with `ragstone keys new`.")
    return KeyLine(Principal(name, everywhere, grants, groups), found, until)


def read_text(path: Path) -> str:
    """A file of keys as it is. Raises `InvalidInput`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe in its place would be waited for
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _wrong("it is not a file; name the file of keys.")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(_MOST_BYTES + 1)
        finally:
            os.close(descriptor)
        if len(content) > _MOST_BYTES:
            raise _wrong(f"it has more than {_MOST_BYTES:,} bytes; it should hold keys and comments only.")
        return content.decode()
    except UnicodeDecodeError:
        raise _wrong("it is not text in UTF-8; write one key a line.") from None
    except (OSError, ValueError):
        raise _wrong("it can't be read; check its path and rights.") from None


def _wrong(what: str) -> InvalidInput:
    """An error that names the setting; never a line's content, which may be a key that was put there by mistake."""
    return InvalidInput(f"{_FIELD}: {what}", field=_FIELD)
