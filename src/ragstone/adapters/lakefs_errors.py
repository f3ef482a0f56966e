"""What goes wrong at a lakeFS server, as ragstone's errors."""

from __future__ import annotations

import json

import httpx
import urllib3
from lakefs_sdk.exceptions import ApiException

from ragstone.domain.errors import Conflict, InternalError, NotFound, RagstoneError, StorageFull, Unavailable

_FIELD = "versions"
_FULL = ("no space left on device", "quota exceeded")


class Refused(InternalError):
    """The server found the request wrong (400, 412); `reason` is its own word for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"lakeFS refused a request of ragstone ({reason[:200]}); see its log.", field=_FIELD)
        self.reason = reason


class Answer(Exception):
    """An answer other than success, got by httpx."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class Garbled(Exception):
    """An answer that the SDK can't read."""


def translate(error: Exception) -> RagstoneError | None:
    """None for what is no client's error."""
    if isinstance(error, (Answer, ApiException)):
        return _of_status(int(error.status or 0), error.body)
    if isinstance(error, Garbled):
        return Unavailable("The version store (lakeFS) broke off, or versions.endpoint is another server; try again.", field=_FIELD)
    if isinstance(error, (httpx.HTTPError, urllib3.exceptions.HTTPError)):
        return Unavailable("The version store (lakeFS) does not answer; try again.", field=_FIELD)
    return None


def _of_status(status: int, body: object) -> RagstoneError:
    reason = _reason(body)
    if any(word in reason.lower() for word in _FULL):
        return StorageFull("No space is left for the version store (lakeFS); free some and try again.", field=_FIELD)
    if status in (404, 410):
        return NotFound(f"lakeFS: {reason[:200] or 'not found'}.")
    if status == 409:
        return Conflict(f"lakeFS: {reason[:200] or 'conflict'}.")
    if status == 401 or (status == 403 and "insufficient permissions" in reason):
        return Unavailable(
            "The version store (lakeFS) refuses ragstone's access key; check versions.access_key_id, its secret and its policies.",
            field=_FIELD,
        )
    if "failed to access storage" in reason:  # told as 400, when a repository is made while the object store is away
        return Unavailable("The version store (lakeFS) can't reach its own object store; see its log, or try again.", field=_FIELD)
    if 400 <= status < 500 and status not in (408, 423, 425, 429):
        return Refused(reason or str(status))
    return Unavailable(f"The version store (lakeFS) failed ({status}); try again.", field=_FIELD)


def _reason(body: object) -> str:
    try:
        return str(json.loads(body if isinstance(body, bytes) else str(body))["message"])
    except (ValueError, KeyError, TypeError):
        return ""
