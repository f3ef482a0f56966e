"""MongoDB's errors in ragstone's words. Texts of the server are left out: they can quote what is stored."""

from __future__ import annotations

from bson.errors import InvalidDocument
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from ragstone.adapters.codecs import NOT_UNICODE
from ragstone.domain.errors import Conflict, InternalError, InvalidInput, RagstoneError, StorageFull, TooLarge, Unavailable

_REFUSED = frozenset({13, 18})  # Unauthorized, AuthenticationFailed
_FULL = frozenset({14031})  # OutOfDiskSpace
_TOO_LARGE = frozenset({10334, 17419, 17420})  # BSONObjectTooLarge, and an update that would grow beyond it
_PASSING = frozenset(
    {
        24,  # LockTimeout
        50,  # MaxTimeMSExpired
        64,  # WriteConcernFailed: written, and not yet acknowledged by most members
        100,  # UnsatisfiableWriteConcern: fewer members than a majority
        112,  # WriteConflict
        125,  # CommandFailed, of a primary that steps down
        134,  # ReadConcernMajorityNotAvailableYet
        202,  # NetworkInterfaceExceededTimeLimit
        246,  # SnapshotUnavailable
        251,  # NoSuchTransaction: it took longer than transactions may
        262,  # ExceededTimeLimit
        290,  # TransactionExceededLifetimeLimitSeconds
        292,  # QueryExceededMemoryLimitNoDiskUseAllowed
    }
)
_LABELS = ("TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError")


def translated(error: Exception) -> RagstoneError | None:
    """The `translate` of a `Dependency` on MongoDB; None for what is not MongoDB's."""
    match error:
        case DocumentTooLarge():  # an InvalidDocument, to pymongo
            return _too_large()
        case UnicodeEncodeError() | InvalidDocument():
            return InvalidInput(NOT_UNICODE)
        case OverflowError():
            return InvalidInput("a number has more than 63 bits; use a smaller one.")
        case ServerSelectionTimeoutError():
            return Unavailable("MongoDB: no member of the replica set can be written to; start it, or wait for its election.")
        case ConnectionFailure() | ExecutionTimeout():
            return Unavailable("MongoDB: the connection broke or took too long; try again.")
        case DuplicateKeyError():
            return Conflict("it exists already.")
        case OperationFailure():
            return _of_server(error)
        case ConfigurationError() | InvalidOperation():
            return InternalError(f"MongoDB's client refuses a call ({type(error).__name__}); please report it.")
        case PyMongoError():
            return Unavailable(f"MongoDB: {type(error).__name__}; try again.") if _may_pass(error) else InternalError(_unexpected(error))
        case _:
            return None


def _of_server(error: OperationFailure) -> RagstoneError:
    codes = {error.code}
    if isinstance(error, BulkWriteError):
        codes |= {each.get("code") for each in (error.details or {}).get("writeErrors", ())}
    if codes & _FULL:
        return StorageFull("no space is left for MongoDB; free some and try again.")
    if codes & _REFUSED:
        return Unavailable("MongoDB refuses the credentials or the right to do this; check the user in its URI (role readWrite).")
    if codes & _TOO_LARGE:
        return _too_large()
    if codes & _PASSING or _may_pass(error):
        return Unavailable("MongoDB: it could not do this now, or could not say whether it did; try again.")
    return InternalError(_unexpected(error))


def _may_pass(error: PyMongoError) -> bool:
    return error.timeout or any(error.has_error_label(label) for label in _LABELS)


def _too_large() -> TooLarge:
    return TooLarge("it is larger than the 16 MB that MongoDB keeps as one document; send less at once.")


def _unexpected(error: PyMongoError) -> str:
    name = (error.details or {}).get("codeName") if isinstance(error, OperationFailure) else None
    return f"MongoDB refused a command ({name or type(error).__name__}); please report it."
