"""MongoDB's errors in ragstone's words."""

from __future__ import annotations

import pytest
from pymongo.errors import (
    AutoReconnect,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from ragstone.adapters.mongo_errors import translated
from ragstone.domain.errors import Conflict, InternalError, InvalidInput, RagstoneError, StorageFull, TooLarge, Unavailable


def labelled(label: str) -> OperationFailure:
    error = OperationFailure("secret", 9999)
    error._add_error_label(label)
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServerSelectionTimeoutError("secret"), Unavailable),
        (AutoReconnect("secret"), Unavailable),
        (ExecutionTimeout("secret", 50), Unavailable),
        (WTimeoutError("secret", 64), Unavailable),
        (WriteConcernError("secret", 100), Unavailable),
        (OperationFailure("secret", 18), Unavailable),
        (OperationFailure("secret", 112), Unavailable),
        (labelled("UnknownTransactionCommitResult"), Unavailable),
        (labelled("TransientTransactionError"), Unavailable),
        (OperationFailure("secret", 14031), StorageFull),
        (OperationFailure("secret", 10334), TooLarge),
        (DocumentTooLarge("secret"), TooLarge),
        (DuplicateKeyError("secret", 11000), Conflict),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "secret"), InvalidInput),
        (OverflowError("secret"), InvalidInput),
        (OperationFailure("secret", 9), InternalError),
        (PyMongoError("secret"), InternalError),
    ],
)
def test_each_is_the_platforms_and_quotes_nothing(error: Exception, expected: type[RagstoneError]) -> None:
    told = translated(error)
    assert type(told) is expected
    assert "secret" not in told.message


def test_what_is_not_mongodbs_is_left_alone() -> None:
    assert translated(KeyError("x")) is None
