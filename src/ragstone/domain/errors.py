"""The whole error tree. Every error a caller can provoke is one of these.

RagstoneError
├── InvalidInput (422)
│   ├── TooLarge (413)
│   ├── UnreadableDocument (422)
│   └── IdempotencyMismatch (422)
├── NotFound (404)
├── Gone (410)
├── Conflict (409)
│   └── PreconditionFailed (412)
├── Unauthorized (401)
├── Forbidden (403)
├── Busy (429)
│   └── AllowanceUsed (429)
├── Unavailable (503)
│   ├── LeaseLost (503)
│   ├── WorkerLost (503)
│   └── StorageFull (507)
├── DataDirectoryError (500)
└── InternalError (500)

`code` is stable: it ends the `type` of the problem document (RFC 9457). `status` is the HTTP status. `field` names what was wrong
(a request field, a file, a setting). The message is one sentence that says what is wrong and what to do about it; it never holds
a secret or a server's path.
"""

from __future__ import annotations

from ragstone.domain.commits import HeadConflict


class RagstoneError(Exception):
    """Base of every error that ragstone raises on purpose."""

    code: str = "internal-error"
    status: int = 500
    title: str = "Internal error"

    def __init__(self, message: str, *, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after = retry_after  # seconds


class InvalidInput(RagstoneError):
    """The request or file is not acceptable as it stands; nothing was changed."""

    code = "invalid-input"
    status = 422
    title = "Invalid input"


class TooLarge(InvalidInput):
    """A limit on size, count or length was exceeded."""

    code = "too-large"
    status = 413
    title = "Too large"


class UnreadableDocument(InvalidInput):
    """A document could not be parsed: broken, encrypted, not UTF-8, or it exceeded the parser's limits."""

    code = "unreadable-document"
    title = "Unreadable document"


class IdempotencyMismatch(InvalidInput):
    """An Idempotency-Key was used again with another body."""

    code = "idempotency-key-reused"
    title = "Idempotency-Key reused"


class NotFound(RagstoneError):
    """The collection, commit, tag, document, job, model or interaction does not exist."""

    code = "not-found"
    status = 404
    title = "Not found"


class Gone(RagstoneError):
    """It existed and was pruned, purged or dropped."""

    code = "gone"
    status = 410
    title = "Gone"


class Conflict(RagstoneError):
    """The state of the collection does not allow it (it exists already, it moved meanwhile)."""

    code = "conflict"
    status = 409
    title = "Conflict"


class PreconditionFailed(Conflict):
    """What the request touches has changed since the commit that `If-Match` names. `conflict` tells the head and the documents."""

    code = "precondition-failed"
    status = 412
    title = "Precondition failed"

    def __init__(self, message: str, *, conflict: HeadConflict) -> None:
        super().__init__(message, field="If-Match")
        self.conflict = conflict


class Unauthorized(RagstoneError):
    """The request carries no key or token that this server takes. `presented`: it carries one that is refused."""

    code = "unauthorized"
    status = 401
    title = "Unauthorized"

    def __init__(self, message: str, *, field: str | None = None, presented: bool = True) -> None:
        super().__init__(message, field=field)
        self.presented = presented


class Forbidden(RagstoneError):
    """Refused by a safety rule (host allow-list, cross-site origin, missing scope)."""

    code = "forbidden"
    status = 403
    title = "Forbidden"


class Busy(RagstoneError):
    """Too much at once; try again after `retry_after` seconds."""

    code = "busy"
    status = 429
    title = "Too many requests"


class AllowanceUsed(Busy):
    """The principal has used what it may in a window of time, which ends in `retry_after` seconds."""

    code = "allowance-used"
    title = "Allowance used"


class Unavailable(RagstoneError):
    """A dependency did not answer in time or answered with an error."""

    code = "unavailable"
    status = 503
    title = "Unavailable"


class LeaseLost(Unavailable):
    """The writer's attempt is no longer the active one; whatever it wrote is never visible."""

    code = "lease-lost"
    title = "Lease lost"


class WorkerLost(Unavailable):
    """A job was begun again and again, and no worker came back from it."""

    code = "worker-lost"
    title = "Worker lost"


class StorageFull(Unavailable):
    """No space is left where data is kept; nothing was published."""

    code = "storage-full"
    status = 507
    title = "Storage full"


class DataDirectoryError(RagstoneError):
    """The data directory is in use, of a newer format, or damaged."""

    code = "data-directory"
    title = "Data directory unusable"


class InternalError(RagstoneError):
    """A broken promise of our own or of a dependency (wrong dimension, NaN, count mismatch)."""
