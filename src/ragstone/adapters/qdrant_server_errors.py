"""What a Qdrant server and its client raise, as errors of ours."""

from __future__ import annotations

import logging
import re

from grpc import StatusCode  # type: ignore[import-untyped]
from grpc.aio import AioRpcError  # type: ignore[import-untyped]
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from ragstone.domain.errors import DataDirectoryError, InternalError, NotFound, RagstoneError, StorageFull, Unavailable

_log = logging.getLogger(__name__)
_PASSING = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.ABORTED, StatusCode.CANCELLED}
_REFUSED = {StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED}
# gRPC's own word for a connection that ended under a call, whose code may be UNKNOWN or INTERNAL (grpc/grpc#34076).
_BROKEN = "Stream removed"
_OTHERS_DOWN = ("replica", "leader peer", "transport error", "operations failed", "consensus")
_HTTP = {
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.ALREADY_EXISTS,
    503: StatusCode.UNAVAILABLE,
    507: StatusCode.RESOURCE_EXHAUSTED,
}


class NotApplied(Exception):
    """A write is in the server's log, but was not applied within its time; done again it comes to the same."""


def translate(error: Exception) -> RagstoneError | None:
    """None for what is neither the server's nor the client's. The server's own words go to the log only."""
    match error:
        case AioRpcError():
            return _translated(error.code(), error.details() or "")
        case UnexpectedResponse():
            return answered(error.status_code or 0, error.content.decode(errors="replace"))
        case ResourceExhaustedResponse():
            return _exhausted(str(error), float(error.retry_after_s))
        case NotApplied():
            return Unavailable("index: the Qdrant server did not apply a write in time; try again.")
        case ResponseHandlingException() | ApiException():
            return Unavailable("index: the Qdrant server can't be reached; check index.url, and that it runs.")
    return None


def answered(status: int, words: str) -> RagstoneError:
    """An error that the server told over HTTP."""
    return _translated(_HTTP.get(status, StatusCode.UNAVAILABLE if status >= 502 else StatusCode.INTERNAL), words)


def is_there_already(error: Exception) -> bool:
    """Whether something was to be made that is there."""
    return isinstance(error, AioRpcError) and (error.code() is StatusCode.ALREADY_EXISTS or "already exists" in (error.details() or ""))


def _translated(code: StatusCode, words: str) -> RagstoneError:
    if code is StatusCode.NOT_FOUND:
        return NotFound("There is no such index, or it was dropped meanwhile; create it first.", field="index")
    if code is StatusCode.RESOURCE_EXHAUSTED or _is_full(words):
        return _exhausted(words, None)
    _log.warning("the Qdrant server answered %s: %s", code.name, words[:2000])
    if code in _REFUSED:
        return Unavailable("index: the Qdrant server refuses the key; check index.api_key or index.api_key_file.")
    if code in _PASSING or words.startswith(_BROKEN):
        return Unavailable("index: the Qdrant server does not answer; check index.url, and that it runs.")
    if missing := re.search(r'Index required but not found for "([^"]{1,200})"', words):
        return DataDirectoryError(
            f"A Qdrant collection lacks the payload index of {missing[1]}; run `ragstone doctor --repair`.", field="index"
        )
    if any(sign in words for sign in _OTHERS_DOWN):
        return Unavailable("index: too few servers of the Qdrant cluster answer one another; start those that are down.")
    return InternalError("The Qdrant server refused or failed; the log has its own words.")


def _exhausted(words: str, retry_after: float | None) -> RagstoneError:
    if _is_full(words):
        return StorageFull("No space or memory is left on the Qdrant server; give it more and try again.")
    return Unavailable("index: the Qdrant server has too much to do; try again.", retry_after=retry_after)


def _is_full(words: str) -> bool:
    return any(sign in words for sign in ("No space left", "Insufficient storage", "os error 28", "disk usage", "out of disk"))
