"""Qdrant servers that are too old, or not there; a stand-in speaks just enough of the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from qdrant_client import grpc as protocol
from qdrant_client.grpc.qdrant_pb2_grpc import QdrantServicer, add_QdrantServicer_to_server

from ragstone.adapters.dependency import Dependency
from ragstone.adapters.qdrant_server import QdrantServerIndex
from ragstone.adapters.qdrant_server_connection import QdrantServer, check_version
from ragstone.adapters.qdrant_server_errors import answered, translate
from ragstone.domain.errors import DataDirectoryError, InternalError, NotFound, StorageFull, Unavailable
from tests.support.points import point, space

NAME = "kb-1-space"


class Old(QdrantServicer):
    """A server of another version that must be asked for nothing else."""

    def __init__(self, version: str) -> None:
        self.version = version

    async def HealthCheck(self, request: object, context: object) -> protocol.HealthCheckReply:  # noqa: N802 - the protocol's name
        return protocol.HealthCheckReply(title="qdrant", version=self.version)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[str], Any]]:
    servers: list[Any] = []

    async def start(version: str) -> QdrantServerIndex:
        server = grpc.aio.server()
        add_QdrantServicer_to_server(Old(version), server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return _index(port)

    yield start
    for server in servers:
        await server.stop(None)


def _index(port: int) -> QdrantServerIndex:
    server = QdrantServer(url="http://127.0.0.1:1", grpc_port=port, timeout=2.0)
    return QdrantServerIndex(server, Dependency("index", timeout=2.0, concurrency=4, translate=translate))


@pytest.mark.parametrize("version", ["1.18.3", "0.11.0", "", "next"])
async def test_an_older_server_is_refused_before_anything_is_asked_of_it(serve: Callable[[str], Any], version: str) -> None:
    index = await serve(version)
    for call in (index.exists(NAME), index.create(NAME, space()), index.insert(NAME, [point()]), index.names()):
        with pytest.raises(Unavailable, match=r"1\.19 is the oldest"):
            await call
    await index.aclose()


def test_newer_servers_will_do() -> None:
    for version in ("1.19.0", "1.20.1-dev", "2.0.0"):
        check_version(version)


async def test_a_server_that_is_not_there_is_told() -> None:
    index = _index(1)
    with pytest.raises(Unavailable, match=r"check index\.url") as raised:
        await index.names()
    assert raised.value.field == "index"
    assert raised.value.retry_after
    await index.aclose()


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (404, "Not found: Collection `x` doesn't exist!", NotFound),
        (401, "Invalid API key", Unavailable),
        (500, "Service internal error: No space left on device: WAL buffer size exceeds available disk space", StorageFull),
        (507, "Insufficient storage: disk usage is at 97 %", StorageFull),
        (503, "Shard temporarily unavailable", Unavailable),
        (500, "2 of 3 read operations failed: not enough replicas", Unavailable),
        (500, "Service internal error: Failed to apply update with Strong ordering via leader peer 7531", Unavailable),
        (500, "Service internal error: The replica set for shard 0 does not have enough active replicas", Unavailable),
        (400, 'Bad request: Index required but not found for "seq_to" of one of the following types: [integer]', DataDirectoryError),
        (500, "Service internal error: panicked", InternalError),
    ],
)
def test_what_the_server_says_becomes_one_of_our_errors(status: int, words: str, kind: type[Exception]) -> None:
    error = answered(status, words)
    assert type(error) is kind
    assert "panicked" not in error.message


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Connection reset by peer", Unavailable),
        (grpc.StatusCode.UNKNOWN, "Stream removed", Unavailable),
        (grpc.StatusCode.INTERNAL, "Stream removed (Failed parsing HTTP/2 (Invalid HPACK index received (67)))", Unavailable),
        (grpc.StatusCode.INTERNAL, "Service internal error: panicked", InternalError),
    ],
)
def test_a_connection_that_ended_under_a_call_is_no_failure_of_the_server(code: grpc.StatusCode, words: str, kind: type[Exception]) -> None:
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), words)
    assert type(translate(error)) is kind


def test_other_exceptions_are_none_of_its_business() -> None:
    assert translate(ValueError("x")) is None
