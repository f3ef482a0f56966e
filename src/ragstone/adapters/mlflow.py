"""A connection to an MLflow server: one client, its errors in ragstone's words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT,
)
from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException

from ragstone.adapters.dependency import Dependency
from ragstone.domain.errors import InvalidInput, RagstoneError, Unavailable

T = TypeVar("T")
_TIMEOUT = 10.0  # seconds
_THREADS = 4
_EXISTS, _MISSING = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"


class Mlflow:
    """Calls of `MlflowClient`, which blocks, in threads. The client's own retries are off: they go on for minutes, whatever the request's deadline."""

    def __init__(self, uri: str, name: str = "tracking", *, timeout: float = _TIMEOUT) -> None:
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(0)  # type: ignore[no-untyped-call]
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(int(_TIMEOUT))  # type: ignore[no-untyped-call]
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)  # type: ignore[no-untyped-call]  # commands print JSON there
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mlflow")
        self._dependency = Dependency(name, timeout=timeout, concurrency=_THREADS, translate=_translation)

    async def call(self, work: Callable[[MlflowClient], T], *, retry: bool = False) -> T:
        """What `work` returns. Raises `Unavailable` when the server does not answer, and `MlflowException` for what it refuses."""
        try:
            return await self._dependency.call(
                lambda _: asyncio.get_running_loop().run_in_executor(self._threads, work, self._client), retry=retry
            )
        except _Refused as refused:
            raise refused.error from refused

    async def close(self) -> None:
        """Waits for calls that run."""
        await asyncio.to_thread(self._threads.shutdown)


def exists(error: MlflowException) -> bool:
    """Whether it says that there is one already."""
    return bool(error.error_code == _EXISTS)


def missing(error: MlflowException) -> bool:
    """Whether it says that there is none."""
    return bool(error.error_code == _MISSING)


class _Refused(RagstoneError):
    """An answer of the server; whoever asked knows what it means."""

    def __init__(self, error: MlflowException) -> None:
        super().__init__(str(error))
        self.error = error


def _translation(error: Exception) -> RagstoneError | None:
    match error:
        case MlflowException(error_code="RESOURCE_ALREADY_EXISTS" | "RESOURCE_DOES_NOT_EXIST"):
            return _Refused(error)
        case MlflowException(error_code="INVALID_PARAMETER_VALUE" | "BAD_REQUEST"):
            return InvalidInput(f"tracking: MLflow refuses it ({_first_line(error)}).", field="tracking")
        case MlflowException():
            return Unavailable(f"tracking: MLflow failed ({_first_line(error)}); try again.", field="tracking")
        case RequestException():
            return Unavailable("tracking: the MLflow server can't be reached; check tracking.uri and that it runs.", field="tracking")
    return None


def _first_line(error: MlflowException) -> str:
    return str(error.message).partition("\n")[0][:200].rstrip(".")
